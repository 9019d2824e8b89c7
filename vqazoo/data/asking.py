"""What may be asked at once: one picture and one question, or lists of them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from vqazoo.data.ocr import OCR_COLUMN, OcrToken, read_ocr_tokens
from vqazoo.errors import ConfigError, ImageError, QuestionError


@dataclass(frozen=True)
class Asked:
    """Questions and their pictures: as many, or one picture for all of them.

    Attributes:
        single: whether one answer is expected, not a list.
        ocr: of each question what a reader found in its picture; None: nobody says.
    """

    pictures: list[Any]
    questions: list[str]
    single: bool
    ocr: list[tuple[OcrToken, ...] | None] | None = None


def check_at_least_one(name: str, value: Any) -> None:
    """Raises ConfigError: an argument is no whole number, or below 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"{name} is {value!r}, but it must be 1 or more, a whole number.")


def pair(
    image: Any, question: str | Sequence[str], ocr_tokens: Sequence[Any] | None = None
) -> Asked:
    """Pictures, questions and OCR tokens as `VQAModel.answer` takes them.

    Raises:
        ImageError: the list of images is empty. QuestionError: the question is no text or list.
        ConfigError: the counts differ. DataError: the OCR tokens are no such lists.
    """
    if not isinstance(question, (str, list, tuple)):
        raise QuestionError(f"The question is {question!r}, but text or a list was expected.")
    questions = [question] if isinstance(question, str) else list(question)
    many = _is_many(image)
    images = list(image) if many else [image]
    if isinstance(question, str) and len(images) != 1:
        questions = questions * len(images)
    if many and len(images) != len(questions):
        raise ConfigError(
            f"There are {len(images)} images but {len(questions)} questions: give one image "
            f"for all questions, or one for each."
        )
    single = isinstance(question, str) and not many
    return Asked(images, questions, single, _ocr(ocr_tokens, len(questions), many))


def _ocr(
    given: Sequence[Any] | None, count: int, many: bool
) -> list[tuple[OcrToken, ...] | None] | None:
    """OCR tokens of each question: those of one picture for all, or as many lists as images."""
    if given is None:
        return None
    if not many:
        return [read_ocr_tokens(given, "The call")] * count
    if isinstance(given, str) or len(given) != count:
        raise ConfigError(
            f"There are {count} images, but {OCR_COLUMN} is {repr(given)[:60]}: give as many lists "
            f"of tokens, one for each image; an empty one where nothing was read."
        )
    return [read_ocr_tokens(each, f"Image {n}") for n, each in enumerate(given, start=1)]


def _is_many(image: Any) -> bool:
    if isinstance(image, (list, tuple)):
        if not image:
            raise ImageError("The list of images is empty: give at least one.")
        return True
    return getattr(image, "ndim", 0) == 4
