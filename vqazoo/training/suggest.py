"""Which parts suit some data: those of the zoo's own models, each trained on a sample.

These parts need no network, and each made a model that was measured. Features are cached, so that
an encoder encodes once. Imports torch.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqazoo.amounts import duration
from vqazoo.building import build_model
from vqazoo.card.facts import LOG
from vqazoo.catalogue import PACKAGED, entries
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.config import Block, RunConfig
from vqazoo.data import Example, open_dataset, split_by_image, usable
from vqazoo.data.answers import apply_rule
from vqazoo.errors import ConfigError, DataError, IncompatibleError, WeightsError
from vqazoo.evaluation.split import Questions, evaluate_questions
from vqazoo.features.unfamiliar import told_unfamiliar
from vqazoo.files.writing import WEIGHTS
from vqazoo.keywords import names_keywords
from vqazoo.manifests import FusionManifest
from vqazoo.model import VQAModel, pick_device
from vqazoo.names import PLUS
from vqazoo.progress import Progress, unshown
from vqazoo.registry import registry
from vqazoo.training.data import read_run_data
from vqazoo.training.doubts import EXPLAINED
from vqazoo.training.estimate import estimate
from vqazoo.training.loop import run_training
from vqazoo.training.own_rows import kept_rows, row_of
from vqazoo.training.run_folder import one_writer
from vqazoo.training.same_data import SameData
from vqazoo.training.settings import gather_config
from vqazoo.training.stages import stages, unfreeze
from vqazoo.training.state import STATE, read_log, read_position
from vqazoo.training.sweep import finished

TRIALS, SAMPLE = "trials", "sample"  # in the folder that is written
TIMED = 9  # questions that are answered alone, to tell how long one takes
SCORED_SHARE = 0.25  # share of the sample's pictures


@dataclass(frozen=True)
class Combination:
    """What is tried: names of the parts, and whether it never looks at the picture."""

    image_encoder: str
    text_encoder: str
    fusion: str
    head: str
    blind: bool = False

    @property
    def encoder(self) -> str:
        """Both encoders as `--encoder` takes them."""
        if self.image_encoder == self.text_encoder:
            return self.image_encoder
        return f"{self.image_encoder}{PLUS}{self.text_encoder}"

    def __str__(self) -> str:
        return f"{self.encoder}, {self.fusion}, {self.head}"


@dataclass(frozen=True)
class Tried:
    """What some parts scored on the validation part of the sample, and what they cost.

    Attributes:
        metric, score, interval: the score, and its 95% interval over pictures.
        training, answer: seconds of the training, with encoding, and of one answer.
        size: bytes of the trained weights.
    """

    parts: Combination
    metric: str
    score: float
    interval: tuple[float, float] | None
    training: float
    answer: float
    size: int


@dataclass(frozen=True)
class Suggestion:
    """Trials, best first, and why other parts were left out.

    Attributes:
        questions, pictures: of the sample, the part that is scored included.
    """

    trials: tuple[Tried, ...]
    left_out: tuple[str, ...]
    questions: int
    pictures: int

    @property
    def best(self) -> Tried | None:
        """The best trial of parts that look at the picture; None: none was finished."""
        return next((trial for trial in self.trials if not trial.parts.blind), None)

    @property
    def blind(self) -> Tried | None:
        """That of parts which do not."""
        return next((trial for trial in self.trials if trial.parts.blind), None)


@names_keywords
def try_parts(
    data: Any,
    out: Path,
    *,
    assignments: Sequence[str] = (),
    minutes: float = 10,
    rows: int = 2_000,
    seed: int = 0,
    report: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> Suggestion:
    """Train the parts of the zoo's own models on a sample of some data, as long as time is left.

    What was finished in `out` before is not trained again.

    Args:
        data: name of a dataset, a file, or a table of a config, as for `vqazoo.train`.
        assignments: as for `vqazoo.train`, such as "data.skip_missing=true".
        rows: questions of the sample, at most; whole pictures are drawn.

    Raises:
        VqazooError: the data or the folder cannot be used.
    """
    started = time.monotonic()
    with one_writer(out):
        first = gather_config(None, assignments, {**_flags(known_parts()[0]), "data": data})
        sample = drawn_rows(first, rows, seed)
        # arguments of the dataset, such as its folder, are none of the sample's table
        assignments = [one for one in assignments if not one.startswith("data.args.")]
        pictures = len({example.image for example in sample})
        report(f"Trying parts on {len(sample):,} questions about {pictures:,} pictures.")
        table = _written(sample, out, seed)
        seen = SameData(progress)
        trials: list[Tried] = []
        left_out: list[str] = []
        warned: set[str] = set()

        def warn(line: str) -> None:
            # Those of the sample once; whether pictures help is said of all parts in the end.
            if line.startswith("Warning") and line not in warned and EXPLAINED not in line:
                warned.add(line)
                report(line)

        for parts in _fitting(sample, seed, left_out):
            config = gather_config(
                None, assignments, {**_flags(parts), "data": table, "seed": seed}, by_rows=True
            )
            folder = out / TRIALS / "-".join(str(parts).replace(":", "_").split(", "))
            try:
                spare = 60 * minutes - (time.monotonic() - started)
                if reason := _too_long(config, folder, seen, spare):
                    left_out.append(f"{parts}: {reason}")
                    report(f"Left out {left_out[-1]}.")
                    continue
                report(f"Trying {parts}.")
                trials.append(_tried(parts, config, folder, seen, warn, progress))
            except (ConfigError, IncompatibleError, WeightsError) as error:
                left_out.append(f"{parts}: {error}")
                continue
            report(f"{parts}: {trials[-1].metric} {trials[-1].score:.2%}.")
    best_first = sorted(trials, key=lambda trial: (-trial.score, trial.training))
    return Suggestion(tuple(best_first), tuple(left_out), len(sample), pictures)


def known_parts() -> list[Combination]:
    """The parts of packaged models that answer questions, the smallest model first."""
    known = [entry for entry in entries().values() if entry.weights == PACKAGED]
    answering = [
        entry for entry in known if not registry.manifest("head", entry.parts["head"]).flaws
    ]
    answering.sort(key=lambda entry: entry.size)
    listed = []
    for entry in answering:
        parts = entry.parts
        towers = parts["image_encoder"], parts["text_encoder"]
        listed.append(Combination(*towers, parts["fusion"], parts["head"]))
    return list(dict.fromkeys(listed))


def drawn_rows(config: RunConfig, rows: int, seed: int) -> list[Example]:
    """Questions with an answer to learn, about whole pictures in a drawn order.

    Raises:
        DataError: there are fewer than two pictures.
    """
    data = config.data
    reader = open_dataset(data.type, data.args)
    reader.check_split(data.train_split)
    examples, _ = usable(reader.read(data.train_split), data.skip_missing, None)
    examples = apply_rule(data.answer_rule, examples, seed)
    of_picture: dict[Path, list[Example]] = {}
    for example in examples:
        of_picture.setdefault(example.image, []).append(example)
    if len(of_picture) < 2:
        raise DataError(
            f"The split '{data.train_split}' of '{data.type}' has questions with answers about "
            f"{len(of_picture)} pictures, but at least 2 are needed: one to learn from, one to "
            f"score."
        )
    pictures = list(of_picture)
    random.Random(seed).shuffle(pictures)
    chosen: list[Example] = []
    for number, picture in enumerate(pictures):
        if number > 1 and len(chosen) >= rows:
            break
        chosen += of_picture[picture]
    return chosen


def _written(sample: Sequence[Example], out: Path, seed: int) -> Any:
    """The sample as two files of a table, so that every trial can be repeated."""
    train, validation = split_by_image(sample, SCORED_SHARE, seed)
    parts = {
        "train": [{**row_of(each), "image": each.image} for each in train],
        "validation": [{**row_of(each), "image": each.image} for each in validation],
    }
    return kept_rows(parts, out / SAMPLE)


def _fitting(sample: Sequence[Example], seed: int, left_out: list[str]) -> Iterator[Combination]:
    """The parts to try, those that never look at the picture first; why others are left out."""
    pictures = [example.image for example in sample]
    strange: dict[str, str] = {}
    blind = [
        name for name, manifest in registry.usable(FusionManifest) if manifest.ignores == "image"
    ]
    tried_blind = False
    for parts in known_parts():
        encoder = parts.image_encoder
        if encoder not in strange:
            strange[encoder] = told_unfamiliar(Block(encoder, {}), pictures, seed)
            if strange[encoder]:
                left_out.append(f"{encoder}: {strange[encoder]}")
        if strange[encoder]:
            continue
        pooled = "pooled" in registry.manifest("head", parts.head).requires
        if blind and pooled and not tried_blind:
            tried_blind = True
            yield replace(parts, fusion=blind[0], blind=True)
        yield parts


def _flags(parts: Combination) -> dict[str, Any]:
    return {"encoder": parts.encoder, "fusion": parts.fusion, "head": parts.head}


def _too_long(config: RunConfig, folder: Path, seen: SameData, spare: float) -> str:
    """Why a training is not begun; empty: it is, or was finished before."""
    if finished(folder, config, seen):
        return ""
    if spare <= 0:
        return "no time is left"
    data = read_run_data(config, None)
    model = build_model(config.model, data.answers)
    unfreeze(model, stages(config.training)[0])
    model = model.to(pick_device(config.training.device))
    took = estimate(model, data, config.training, config.seed)
    if took is None or took.seconds <= spare:
        return ""
    return f"it would take about {duration(took.seconds)}, and {duration(spare)} are left"


def _tried(
    parts: Combination,
    config: RunConfig,
    folder: Path,
    seen: SameData,
    report: Callable[[str], None],
    progress: Progress | None,
) -> Tried:
    if not finished(folder, config, seen):
        run_training(config, folder, (folder / STATE).exists(), report, progress)
    model = load_checkpoint(folder / "best").to(pick_device(config.training.device))
    reader = open_dataset(config.data.type, config.data.args)
    split = config.data.validation_split
    questions = Questions(config.data.type, split, reader.read(split))
    shown = progress or unshown
    evaluation = evaluate_questions(
        model, questions, None, False, config.training.cache, report, shown
    )
    chosen = next(
        (m for m in evaluation.metrics if m.name == "vqa-accuracy"), evaluation.metrics[0]
    )
    return Tried(
        parts,
        chosen.name,
        chosen.value,
        chosen.interval,
        _seconds_of_training(folder),
        _seconds_of_an_answer(model, questions.examples),
        (folder / "best" / WEIGHTS).stat().st_size,
    )


def _seconds_of_training(folder: Path) -> float:
    """Of all epochs with their encoding, also of those before an interruption."""
    lines = read_log(folder / LOG, read_position(folder / STATE).total)
    return math.fsum(line["seconds"] + line["encoding_seconds"] for line in lines)


def _seconds_of_an_answer(model: VQAModel, examples: Sequence[Example]) -> float:
    """The median of some answers, each asked alone; the first, which loads things, left out."""
    spent = []
    for example in examples[: TIMED + 1]:
        start = time.perf_counter()
        model.answer(example.image, example.question)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:] or spent)


def training_words(parts: Combination, data: str, others: Mapping[str, str]) -> list[str]:
    """The words of the command that trains those parts on all of the data."""
    words = ["vqazoo", "train", "--encoder", parts.encoder, "--fusion", parts.fusion]
    words += ["--head", parts.head, "--data", data]
    for flag, value in others.items():
        words += [flag, value]
    return words
