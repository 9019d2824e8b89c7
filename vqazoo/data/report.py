"""What a dataset holds: counts, answer coverage, pictures shared by splits, missing or broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vqazoo.data.answers import select_answer
from vqazoo.data.damage import unreadable
from vqazoo.data.doubts import doubts_of
from vqazoo.data.examples import DatasetReader, Example, is_there
from vqazoo.data.leaks import shared_pictures
from vqazoo.data.own_files import is_own
from vqazoo.progress import Progress, unshown

TOP = 5  # most frequent answers that are shown
FEW = 2_000  # pictures of a split that are opened without being asked to
COVERAGES = (100, 1000, 3000)  # sizes of answer lists whose coverage is told


@dataclass(frozen=True)
class SplitReport:
    """Facts about one split.

    Attributes:
        official: questions of the official release; None where it is not known.
        answers_per_question: number of answers, and how many questions have so many.
        unanswered: questions without an answer; distinct_answers: selected ones.
        top_answers: most frequent selected answers with their counts.
        coverage: share of the split's selected answers that are among the most frequent selected
            answers of the training split, by size of that list; empty where no split is that.
        answer_types, question_types: counts; unanswerable: questions said to be unanswerable.
        missing_images: distinct pictures that are not there; broken_images: those that cannot be
            decoded, None if that was not looked at.
    """

    questions: int
    official: int | None
    images: int
    distinct_questions: int
    answers_per_question: dict[int, int]
    unanswered: int
    distinct_answers: int
    top_answers: dict[str, int]
    coverage: dict[str, float]
    answer_types: dict[str, int]
    question_types: dict[str, int]
    unanswerable: int | None
    missing_images: int
    broken_images: int | None


@dataclass(frozen=True)
class DataReport:
    """Facts about a dataset; `shared_images` counts pictures that two splits have in common.

    `training_split` is the split whose answers the coverage is of; None: no name says which it is.
    `doubts` are, of a user's own files, rows of each split that are probably not meant so.
    """

    splits: dict[str, SplitReport]
    training_split: str | None
    shared_images: dict[str, int]
    missing: list[str]
    broken: list[str]
    doubts: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def report_on(
    reader: DatasetReader,
    official: Mapping[str, int],
    decode: bool | None = None,
    tell: Callable[[str], None] = lambda line: None,
    other: Mapping[str, int] | None = None,
    progress: Progress = unshown,
) -> DataReport:
    """Read every split of a dataset and look at its pictures.

    Args:
        official: questions of each split in the official release; other: in another one.
        decode: open every picture, which finds broken files and takes long; None: where a split has
            at most FEW pictures.
        tell: receives a line a split; progress: shows the pictures that are opened.
    """
    splits: dict[str, SplitReport] = {}
    images: dict[str, set[Path]] = {}
    missing: list[str] = []
    broken: list[str] = []
    doubts: dict[str, list[str]] = {}
    own = bool(reader.registered_as) and is_own(reader.registered_as)
    training = training_split(reader.splits())
    known: list[str] = []  # selected answers of the training split, most frequent first
    for name in sorted(reader.splits(), key=lambda name: name != training):
        tell(f"Reading '{name}'.")
        examples = reader.read(name)
        images[name] = {example.image for example in examples}
        there = [image for image in images[name] if is_there(image)]
        absent = sorted(str(image) for image in images[name] - set(there))
        looked = decode if decode is not None else len(there) <= FEW
        bad = sorted(map(str, unreadable(there, progress))) if looked else None
        missing += absent
        broken += bad or []
        if own:
            unit, places = reader.places(name)
            if told := list(map(str, doubts_of(examples, places, unit))):
                doubts[name] = told
        selected = [text for e in examples if (text := select_answer(e.to_learn))]
        counts = Counter(selected)
        if name == training:
            known = [text for text, _ in _ranked(counts)]
        splits[name] = _split(
            examples,
            _official(name, (official, other or {}), len(examples)),
            counts,
            _coverage(selected, known),
            len(images[name]),
            len(absent),
            None if bad is None else len(bad),
        )
    names = list(images)
    shared = {
        f"{a} and {b}": common
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if (common := len(shared_pictures(images[a], images[b])))
    }
    in_order = {name: splits[name] for name in reader.splits()}
    return DataReport(in_order, training, shared, sorted(set(missing)), sorted(set(broken)), doubts)


def training_split(names: Sequence[str]) -> str | None:
    """Which split is there to learn from, by its name alone: `train`, `training`, else the one that
    starts so; None if no name, or more than one, says so.
    """
    for exact in ("train", "training"):
        if exact in names:
            return exact
    candidates = [name for name in names if name.casefold().startswith("train")]
    return candidates[0] if len(candidates) == 1 else None


def _official(name: str, releases: Sequence[Mapping[str, int]], count: int) -> int | None:
    """The count of a split in the release that it fits, else in the first; None: not known."""
    known = [counts[name] for counts in releases if name in counts]
    return count if count in known else next(iter(known), None)


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _coverage(selected: list[str], known: list[str]) -> dict[str, float]:
    """Share of the selected answers that lists of the most frequent known ones reach."""
    if not selected or not known:
        return {}
    place = {text: rank for rank, text in enumerate(known)}
    ranks = [place.get(text, len(known)) for text in selected]
    sizes = [size for size in COVERAGES if size < len(known)]
    shares = {str(size): sum(r < size for r in ranks) / len(ranks) for size in sizes}
    return {**shares, f"all {len(known)}": sum(r < len(known) for r in ranks) / len(ranks)}


def _split(
    examples: list[Example],
    official: int | None,
    counts: Counter[str],
    coverage: dict[str, float],
    images: int,
    missing: int,
    broken: int | None,
) -> SplitReport:
    said = [e.answerable for e in examples if e.answerable is not None]
    return SplitReport(
        questions=len(examples),
        official=official,
        images=images,
        distinct_questions=len({e.question for e in examples}),
        answers_per_question=dict(sorted(Counter(len(e.answers) for e in examples).items())),
        unanswered=sum(not e.answers for e in examples),
        distinct_answers=len(counts),
        top_answers=dict(_ranked(counts)[:TOP]),
        coverage=coverage,
        answer_types=dict(_ranked(Counter(e.answer_type for e in examples if e.answer_type))),
        question_types=dict(_ranked(Counter(e.question_type for e in examples if e.question_type))),
        unanswerable=said.count(False) if said else None,
        missing_images=missing,
        broken_images=broken,
    )
