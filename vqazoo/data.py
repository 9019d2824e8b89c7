"""Examples, and the contract of dataset readers. Imports only the standard library."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqazoo.errors import DataError, QuestionError, UnknownNameError, did_you_mean

MAX_QUESTION_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Example:
    """One question about one image.

    Attributes:
        image: path of the picture.
        question: as asked.
        answers: every human answer, unchanged; empty when the split has none.
        question_id: unique in its split.
    """

    image: Path
    question: str
    answers: tuple[str, ...]
    question_id: str


class DatasetReader(ABC):
    """Reads one dataset. A subclass is built as `Cls(**args)` with the manifest's arguments."""

    @abstractmethod
    def splits(self) -> list[str]:
        """Names of the splits that are there."""

    @abstractmethod
    def read(self, split: str) -> list[Example]:
        """The examples of a split, in file order.

        Raises:
            DataError: a file or row cannot be used; the message names file and row.
        """

    def check_split(self, split: str) -> None:
        """Raise UnknownNameError, with a suggestion, for a split that is not there."""
        if split not in self.splits():
            raise UnknownNameError(
                f"Unknown split {split!r}.{did_you_mean(split, self.splits())} "
                f"The splits are {', '.join(self.splits())}."
            )


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
    """SHA-256 over questions, answers and image names: tells whether two runs saw the same data."""
    state = hashlib.sha256()
    for example in examples:
        row = (example.question_id, example.image.name, example.question, *example.answers)
        state.update("\x1f".join(row).encode() + b"\x1e")
    return state.hexdigest()
