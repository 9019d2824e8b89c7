"""Examples, and the contract of dataset readers. Imports only the standard library."""

from __future__ import annotations

import hashlib
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vqazoo.data.comparison import STEMS, TEXT, Comparison, rule
from vqazoo.data.ocr import OcrToken
from vqazoo.data.reader_faults import OPENED, name_faults
from vqazoo.errors import ConfigError, DataError, QuestionError, UnknownNameError, did_you_mean
from vqazoo.files.elsewhere import DistantFile
from vqazoo.files.writing import write_list
from vqazoo.keywords import keywords_told, names_keywords
from vqazoo.progress import Progress, unshown
from vqazoo.registry import registry

MAX_QUESTION_CHARACTERS = 2000
MISSING_IMAGES = "missing-images.txt"  # lists the pictures of a split that are left out
TOLD = 3  # pictures that a sentence names, where no file lists them


@dataclass(frozen=True, slots=True)
class Example:
    """One question about one image.

    Attributes:
        image: path of the picture; whether it is there is checked before it is needed.
        question: as asked.
        answers: every human answer, as published; empty when the split has none.
        question_id: unique in its split.
        answer_type, question_type: as the data set names them; empty where it does not.
        group: part of the split in which a benchmark scores it apart, such as `head` or `tail`.
        answerable: whether the picture can answer the question; None where nobody said.
        confidences: of each answer, `yes`, `maybe` or `no`; empty where nobody said.
        targets: answers to learn with their weights, best first; set by an answer rule.
        learnt: the same answers in the words that a model is to learn, where they were published
            in others, such as stems; empty: those of `answers`.
        comparison: when an answer is one of `answers`.
        text_id: whether the release's question ids are texts, which submissions keep.
        rephrasing_of: id of the question that this one asks in other words, or a name that all
            questions with one meaning share; empty: none is known.
        choices: the answers that the question gives to choose from; empty: it gives none. Where
            there are some, an answer is the likeliest of them, see `VQAModel.chosen`.
        weighted: answers with weights in [0, 1], best first, as of a teacher (`vqazoo label`), of
            which the answer rules `soft`, `share` and `sampled` learn; `answers` is then the best
            of them. Empty: every answer counts the same.
        ocr_tokens: the words that a reader of text found in the picture, for heads that copy them
            (`reads_ocr` in their manifest); empty: it found none; None: there was no reader.
        image_path: the picture as the user's own table writes it, which files of answers repeat;
            empty: the data are no such table, or hold the picture itself.
    """

    image: Path
    question: str
    answers: tuple[str, ...]
    question_id: str
    answer_type: str = ""
    question_type: str = ""
    answerable: bool | None = None
    confidences: tuple[str, ...] = ()
    targets: tuple[tuple[str, float], ...] = ()
    learnt: tuple[str, ...] = ()
    comparison: Comparison = field(default=TEXT, compare=False)
    text_id: bool = False
    rephrasing_of: str = ""
    choices: tuple[str, ...] = ()
    weighted: tuple[tuple[str, float], ...] = ()
    group: str = ""
    ocr_tokens: tuple[OcrToken, ...] | None = None
    image_path: str = field(default="", compare=False)

    @property
    def images(self) -> tuple[Path, ...]:
        """The pictures that the question is about: one, or those shown side by side."""
        return getattr(self.image, "pictures", None) or (self.image,)

    @property
    def to_learn(self) -> tuple[str, ...]:
        """The answers in the words that a model is to learn."""
        return self.learnt or self.answers

    def __post_init__(self) -> None:
        """Raise DataError where an answer is no text: a number or a list, or one text alone."""
        if isinstance(self.answers, str) or not all(isinstance(a, str) for a in self.answers):
            raise DataError(
                f"The answers of question {self.question_id!r} are {str(self.answers)[:60]!r}, but "
                f"several texts were expected: the reader of the dataset must give text, such as "
                f"('3',) for 3."
            )
        if isinstance(self.choices, str) or not all(isinstance(c, str) for c in self.choices):
            raise DataError(
                f"The choices of question {self.question_id!r} are {str(self.choices)[:60]!r}, but "
                f"several texts were expected: the reader of the dataset must give text."
            )

    @property
    def target(self) -> str:
        """The answer to learn with the largest weight; empty if there is none."""
        return self.targets[0][0] if self.targets else ""


class DatasetReader(ABC):
    """Reads one dataset.

    A subclass is built as `Cls(**args)` with the manifest's arguments, and as
    `Cls(variant, **args)` if the manifest has a variant. Use `open_dataset` to build one.

    Attributes:
        registered_as: the name by which `open_dataset` built it; empty: it was built by hand.
    """

    registered_as: str = ""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        name_faults(cls)

    @abstractmethod
    def splits(self) -> list[str]:
        """Names of the splits that are there."""

    @abstractmethod
    def read(self, split: str) -> list[Example]:
        """The examples of a split, in file order.

        Raises:
            DataError: a file or row cannot be used; the message names file and row.
        """

    def stream(self, split: str) -> Iterator[Example]:
        """The examples of a split one by one, in file order, to be answered: whoever asks a
        question checks it, and answers of people may be left out.

        Readers of files that memory cannot hold override it; this one reads the whole split. Where
        the number of examples is known, `operator.length_hint` says it, see `Counted`.

        Raises:
            DataError: as `read`.
        """
        return iter(self.read(split))

    def places(self, split: str) -> tuple[str, Sequence[int]]:
        """What the places of rows count, `line` or `row`, and that of each example of `read`."""
        return "row", range(1, len(self.read(split)) + 1)

    def check_split(self, split: str) -> None:
        """Raise UnknownNameError, with a suggestion, for a split that is not there."""
        with keywords_told(OPENED):
            if not self.splits():
                raise DataError(
                    f"The files of the split '{split}' were not found: check --data-root; "
                    f"'vqazoo info' tells what the dataset needs."
                )
            if split not in self.splits():
                raise UnknownNameError(
                    f"Unknown split {split!r}.{did_you_mean(split, self.splits())} "
                    f"The splits are {', '.join(self.splits())}."
                )


@names_keywords
def open_dataset(name: str, args: Mapping[str, Any]) -> DatasetReader:
    """The reader of a dataset by its registry name, such as `vizwiz` or `hf:owner/name`.

    Raises:
        UnknownNameError, ConfigError, PluginError, DataError: see the message.
    """
    name = registry.canonical("dataset", name)
    family, _, variant = name.partition(":")
    manifest = registry.manifest("dataset", name)
    if bool(manifest.variant) != bool(variant):
        wanted = f"a {manifest.variant} after a colon" if manifest.variant else "nothing"
        raise ConfigError(
            f"The dataset '{family}' takes {wanted}, but {variant!r} was given: write "
            f"'{family}{':...' if manifest.variant else ''}'."
        )
    positional = (variant,) if variant else ()
    reader: DatasetReader = registry.build("dataset", name, *positional, **args)
    object.__setattr__(reader, "registered_as", registry.canonical("dataset", name))
    if manifest.comparison not in (TEXT.name, STEMS):
        _compare_by(reader, manifest.comparison)
    return reader


def _compare_by(reader: DatasetReader, name: str) -> None:
    """Let the examples that a reader reads be compared by a rule, but for those that have one."""
    read = reader.read

    def compared(split: str) -> list[Example]:
        return [
            example if example.comparison is not TEXT else replace(example, comparison=rule(name))
            for example in read(split)
        ]

    setattr(reader, "read", compared)  # noqa: B010 - mypy refuses a plain assignment


def present(
    examples: Sequence[Example], skip_missing: bool, list_file: Path | None
) -> tuple[list[Example], int]:
    """The examples whose picture is a file, and how many others there are.

    Args:
        skip_missing: leave the others out; False: stop.
        list_file: where the missing paths are written, one a line; None: the first are told.

    Raises:
        DataError: pictures are missing and `skip_missing` is False, or every picture is missing.
    """
    # Unlike Path.is_file, os.path.isfile takes a name that is too long as one that is not there.
    missing = {image for image in {e.image for e in examples} if not is_there(image)}
    if missing and not skip_missing:
        left = sum(example.image in missing for example in examples)
        problem = _told(missing, examples, "do not exist", list_file)
        if left < len(examples):
            raise DataError(
                f"{problem}: fetch {'it' if len(missing) == 1 else 'them'}, or leave out "
                f"{left:,} question{'s' * (left > 1)} with --skip-missing."
            )
    return _without(missing, examples, "do not exist", list_file)


def usable(
    examples: Sequence[Example],
    skip_missing: bool,
    list_file: Path | None,
    progress: Progress = unshown,
) -> tuple[list[Example], int]:
    """As `present`, but with `skip_missing` also those are left out whose picture cannot be read,
    for which every picture is opened once, which `progress` shows.

    Raises:
        DataError: as `present`, or no picture can be read.
    """
    if not skip_missing:
        return present(examples, skip_missing, list_file)
    from vqazoo.data.damage import unreadable  # which imports torch

    images = {example.image for example in examples}
    missing = {image for image in images if not is_there(image)}
    damaged = set(unreadable(sorted(images - missing), progress))
    problem = "do not exist" if not damaged else "do not exist or cannot be read"
    return _without(
        missing | damaged, examples, problem if missing else "cannot be read", list_file
    )


def is_there(image: Path) -> bool:
    """Whether a picture is a file; what is elsewhere is told when it is read, not asked for."""
    return isinstance(image, DistantFile) or os.path.isfile(image)


def _without(
    bad: set[Path], examples: Sequence[Example], what: str, list_file: Path | None
) -> tuple[list[Example], int]:
    """The examples of other pictures, and how many are left out; those of none are an error."""
    if not bad:
        return list(examples), 0
    problem = _told(bad, examples, what, list_file)
    kept = [example for example in examples if example.image not in bad]
    if not kept:
        raise DataError(f"{problem}: check the data root, or image_root for your own tables.")
    return kept, len(examples) - len(kept)


def _told(bad: set[Path], examples: Sequence[Example], what: str, list_file: Path | None) -> str:
    """What is wrong with pictures, which are listed."""
    paths = sorted(map(str, bad))
    what = what.replace("do not", "does not") if len(bad) == 1 else what
    told = f"{len(bad):,} of {len({e.image for e in examples}):,} pictures {what}, "
    if list_file is None:
        more = f" and {len(paths) - TOLD:,} more" if len(paths) > TOLD else ""
        return told + "such as " * bool(more) + ", ".join(map(repr, paths[:TOLD])) + more
    write_list(list_file, paths)
    return f"{told}such as '{paths[0]}' (all in '{list_file}')"


def check_question(question: str, where: str = "The question") -> str:
    """The question without surrounding blanks, or QuestionError: empty, too long or not text."""
    stripped = question.strip()
    if not stripped:
        raise QuestionError(f"{where} is empty: write a question in words.")
    if len(stripped) > MAX_QUESTION_CHARACTERS:
        raise QuestionError(
            f"{where} has {len(stripped):,} characters, but at most "
            f"{MAX_QUESTION_CHARACTERS:,} are read: shorten it."
        )
    try:
        stripped.encode()
    except UnicodeEncodeError as error:  # from a terminal or file that is not UTF-8
        raise QuestionError(
            f"{where} holds the broken character {stripped[error.start]!r}: write it in UTF-8."
        ) from error
    return stripped


def split_by_image(
    examples: Sequence[Example], fraction: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Split so that no image is on both sides; the second part gets about `fraction` of the images.

    Raises:
        DataError: fewer than two images, so that one side would be empty.
    """
    images = sorted({example.image for example in examples})
    if len(images) < 2:
        raise DataError(
            f"A validation part cannot be split off: there is {len(images)} distinct image, "
            f"but at least 2 are needed; add images or name a validation split."
        )
    random.Random(seed).shuffle(images)
    held_out = set(images[: min(max(1, round(len(images) * fraction)), len(images) - 1)])
    kept = [example for example in examples if example.image not in held_out]
    return kept, [example for example in examples if example.image in held_out]


def digest(examples: Iterable[Example]) -> str:
    """SHA-256 over questions, answers, image names and what was read in them: tells whether two
    runs saw the same data."""
    state = hashlib.sha256()
    for example in examples:
        row = (example.question_id, example.image.name, example.question, *example.answers)
        given = ("\x1d", *example.choices) if example.choices else ()
        if example.ocr_tokens is not None:
            given = (*given, "\x1c", *(f"{text} {box}" for text, box in example.ocr_tokens))
        state.update("\x1f".join((*row, *given)).encode() + b"\x1e")
    return state.hexdigest()
