"""What a run learns from and validates on. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.config import RunConfig
from vqazoo.data import DatasetReader, Example, digest, open_dataset, split_by_image, usable
from vqazoo.data.answers import SEVERAL, AnswerList, apply_rule, normalise, select_answer
from vqazoo.data.examples import MISSING_IMAGES
from vqazoo.data.own_files import TRAIN, dataset_of_file
from vqazoo.errors import ConfigError, DataError
from vqazoo.files.keys import FileKeys
from vqazoo.manifests import HeadManifest
from vqazoo.progress import Progress, unshown
from vqazoo.registry import registry

MISSING_VALIDATION_IMAGES = "missing-validation-images.txt"
MISSING_LABELS = "missing-images-of-labels.txt"


@dataclass(frozen=True)
class RunData:
    """Examples of a run: those to learn from come first, those to validate on last.

    Attributes:
        train_count: how many are to learn from; each of these has `targets`.
        answers: the answers the model knows.
        skipped: training questions left out because the answer rule found nothing to learn.
        missing: questions left out because their picture does not exist.
        unknown: training questions whose targets are all outside the answer list.
    """

    examples: list[Example]
    train_count: int
    answers: AnswerList
    skipped: int
    missing: int
    unknown: int

    @property
    def train(self) -> list[Example]:
        return self.examples[: self.train_count]

    @property
    def validation(self) -> list[Example]:
        return self.examples[self.train_count :]

    def marks(self, caches: Path, progress: Progress = unshown) -> dict[str, Any]:
        """What tells whether another run's data are these: digests, in order, and counts.

        Args:
            caches: folder of feature caches, where digests of pictures are remembered.
            progress: shows the pictures that are read.
        """
        answers = hashlib.sha256("\x1e".join(self.answers.texts).encode()).hexdigest()
        return {
            "train": digest(self.train),
            "validation": digest(self.validation),
            "answers": answers,
            "labels": self._labels(),
            "confidences": self._confidences(),
            "pictures": pictures_digest((e.image for e in self.examples), caches, progress),
            "counts": [self.train_count, len(self.validation), len(self.answers)],
        }

    def _confidences(self) -> str:
        """Of how sure annotators were of their answers, which a head may learn by."""
        state = hashlib.sha256()
        for example in self.examples:
            state.update(f"{example.confidences}\x1e".encode())
        return state.hexdigest()

    def _labels(self) -> str:
        """Of what heads learn besides questions and answers, or instead of these."""
        state = hashlib.sha256()
        for e in self.examples:
            row = (e.targets, e.to_learn, e.answerable, e.answer_type, e.question_type)
            state.update(f"{row}\x1e".encode())
        return state.hexdigest()


def pictures_digest(images: Iterable[Path], caches: Path, progress: Progress = unshown) -> str:
    """A digest of the content of the distinct pictures, in order of first use.

    Args:
        caches: folder of feature caches, where digests of files are remembered.
        progress: shows the pictures that are read.
    """
    state, files = hashlib.sha256(), FileKeys(caches)
    distinct = list(dict.fromkeys(images))
    for number in progress(range(len(distinct)), "pictures known by content"):
        try:
            state.update(files.key(distinct[number]).encode())
        except OSError:  # told where it is opened
            state.update(b"-")
    files.save()
    return state.hexdigest()


def read_run_data(config: RunConfig, out: Path | None, progress: Progress = unshown) -> RunData:
    """Read the splits, select what is learnt and list the answers.

    Args:
        out: run folder, where missing pictures are listed; None: pictures are not looked for.
        progress: shows the pictures that are looked at.

    Raises:
        DataError, UnknownNameError: a file, row, picture or split cannot be used.
        ConfigError: the answer rule does not fit the head or the dataset.
    """
    data = config.data
    _check_rule(config)
    reader = open_dataset(data.type, data.args)
    reader.check_split(data.train_split)
    everything, missing = _read(reader, config, data.train_split, out, progress)
    train = apply_rule(data.answer_rule, everything, config.seed)
    if not train:
        raise DataError(
            f"The split '{data.train_split}' of '{data.type}' has no question with an answer that "
            f"the rule '{data.answer_rule}' takes: there is nothing to learn from."
        )
    skipped = len(everything) - len(train)
    if data.validation_split:
        reader.check_split(data.validation_split)
        read, absent = _read(
            reader, config, data.validation_split, out, progress, MISSING_VALIDATION_IMAGES
        )
        validation = [example for example in read if select_answer(example.to_learn)]
        missing += absent
        if not validation:
            raise DataError(
                f"The split '{data.validation_split}' of '{data.type}' has no question with "
                f"an answer: name another data.validation_split."
            )
    else:
        train, validation = split_by_image(train, data.validation_fraction, config.seed)
    learnt = [text for example in train for text in _counted(config, example)]
    if data.answers:
        answers = AnswerList.from_texts(_read_answers(Path(data.answers)), learnt)
    else:
        answers = AnswerList.from_training(learnt, data.most_answers)
    if data.labels:
        labelled, absent = _read_labels(config, validation, out, progress)
        train, missing = train + labelled, missing + absent
    known = set(answers.texts)
    unknown = sum(not any(text in known for text, _ in example.targets) for example in train)
    return RunData(train + validation, len(train), answers, skipped, missing, unknown)


def _read_labels(
    config: RunConfig, validation: Sequence[Example], out: Path | None, progress: Progress
) -> tuple[list[Example], int]:
    """What a teacher's labels teach, and how many of them have no picture.

    Those about pictures of the validation part are left out: they would tell of what it asks.
    The list of answers is that of people, so labels do not count for it.
    """
    file = config.data.labels
    name, args = dataset_of_file(file, TRAIN)
    if TRAIN not in args or not Path(file).is_file():
        raise DataError(
            f"data.labels is '{file}', which is no file of labels here: name one by its path, such "
            f"as labels.jsonl, or write it with  vqazoo label."
        )
    read, missing = _read(open_dataset(name, args), config, TRAIN, out, progress, MISSING_LABELS)
    held_out = {example.image.resolve() for example in validation}
    return [
        example
        for example in apply_rule(config.data.answer_rule, read, config.seed)
        if example.image.resolve() not in held_out
    ], missing


def given_labels(head: str, examples: Sequence[Example]) -> dict[str, int]:
    """What a head learns besides the answers, and how many of the examples came with it."""
    labels = registry.manifest("head", head).labels
    return {
        name: sum(getattr(example, name) not in (None, "") for example in examples)
        for name in labels
    }


def _counted(config: RunConfig, example: Example) -> list[str]:
    """The answers of an example that count for the list: of several flaws that hold, all."""
    if registry.manifest("head", config.head.type).flaws:
        return [text for text, _ in example.targets]
    return [example.target]


def _check_rule(config: RunConfig) -> None:
    manifest = registry.manifest("head", config.head.type)
    if config.data.answer_rule in SEVERAL and not manifest.weighted_targets:
        able = [name for name, head in registry.usable(HeadManifest) if head.weighted_targets]
        raise ConfigError(
            f"The answer rule '{config.data.answer_rule}' gives several weighted answers, but the "
            f"head '{config.head.type}' learns one: choose another data.answer_rule, or a head of "
            f"several answers ({', '.join(able)})."
        )


def _read(
    reader: DatasetReader,
    config: RunConfig,
    split: str,
    out: Path | None,
    progress: Progress,
    listed: str = MISSING_IMAGES,
) -> tuple[list[Example], int]:
    """The examples of a split whose pictures exist, and how many others there are."""
    if out is None:
        return reader.read(split), 0
    return usable(reader.read(split), config.data.skip_missing, out / listed, progress)


def _read_answers(file: Path) -> list[str]:
    """One answer a line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The answer list '{file}' cannot be read ({error}).") from error
    return [line for line in lines if normalise(line)]
