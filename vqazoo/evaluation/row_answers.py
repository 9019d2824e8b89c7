"""Rows answered a batch at a time; one that cannot be answered says why. Imports torch.

What `vqazoo predict` does with each part of its rows, on whichever machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from vqazoo.answering import BATCH
from vqazoo.data import Example, check_question
from vqazoo.data.ocr import ocr_of
from vqazoo.errors import ImageError, QuestionError
from vqazoo.evaluation.answer_file import Record
from vqazoo.evaluation.answering import Asking
from vqazoo.features.encoding import Seen, encode_seen, stack
from vqazoo.features.lookup import StoredImages, halved
from vqazoo.features.pictures import tried_ahead
from vqazoo.features.sources import distinct
from vqazoo.interfaces import Answer, Features
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating

LIVE, CACHED = "live", "cached"  # where features of pictures come from

MakeRecord = Callable[[Example, Answer | None, str], Record]  # of a row, its answer or its error


class RowAnswers:
    """Answers rows by one model, as `VQAModel.predict` does: the same batches, the same numbers.

    Attributes:
        model: what answers.
    """

    def __init__(
        self,
        model: VQAModel,
        asking: Asking,
        cache: str = "",
        features: str = LIVE,
        make: MakeRecord | None = None,
    ) -> None:
        """
        Args:
            features: LIVE: pictures are encoded; CACHED: their features are read from the cache
                where it has them. It keeps them in half precision, so others are rounded to that:
                scores differ from those of `predict` in the fourth digit, and not by what the cache
                holds. Nothing is written into it.
            make: makes the records; None: those of a file of answers.

        Raises:
            ConfigError: the model cannot be asked so.
        """
        asking.check(model)
        self.model, self._make = model, make or as_record
        self._best = asking.best(model)
        self._stored = StoredImages(model, cache) if features == CACHED else None

    def records(
        self, examples: Sequence[Example], told: Callable[[int], None] = lambda rows: None
    ) -> list[Record]:
        """A record of each example: its answer, or its error.

        Args:
            told: receives how many more rows were answered.

        Raises:
            ConfigError: the model describes pictures, and reads no question.
        """
        if any(example.question.strip() for example in examples):
            self.model.check_reads_questions()
        errors = {row: wrong for row, e in enumerate(examples) if (wrong := self._refused(e))}
        asked = [row for row in range(len(examples)) if row not in errors]
        answers: dict[int, Answer] = {}
        with evaluating(self.model), torch.inference_mode():
            for rows, image in self._seen(examples, asked, errors):
                answers |= self._answered_but(errors, image, rows, examples)
                told(len(rows))
        return [
            self._make(example, answers.get(row), errors.get(row, ""))
            for row, example in enumerate(examples)
        ]

    def close(self) -> None:
        """Keep the digests of pictures that were looked for in the cache."""
        if self._stored is not None:
            self._stored.save()

    def _refused(self, example: Example) -> str:
        """Why a question cannot be asked; empty: it can be."""
        if not example.image.name:
            return "The row has no picture: name one."
        if not example.question.strip() and self.model.fusion_manifest.ignores == "text":
            return ""
        try:
            check_question(example.question)
        except QuestionError as error:
            return str(error)
        return ""

    def _seen(
        self, examples: Sequence[Example], asked: Sequence[int], errors: dict[int, str]
    ) -> Iterator[tuple[list[int], Features]]:
        """Batches of the rows that are asked, with their image features, a row each.

        Rows whose picture cannot be read are left out, and `errors` says why.
        """
        batches = [list(asked[start : start + BATCH]) for start in range(0, len(asked), BATCH)]
        keys = self._stored.keys({examples[row].image for row in asked}) if self._stored else {}
        pictures = [distinct([examples[row].image for row in batch]) for batch in batches]
        unknown = [[path for path in paths if path not in keys] for paths, _ in pictures]
        tried = tried_ahead(self.model, unknown)
        for batch, (paths, _), new, media in zip(batches, pictures, unknown, tried, strict=True):
            known = [path for path in paths if path in keys]
            wrong = {
                p: str(m) for p, m in zip(new, media, strict=True) if isinstance(m, ImageError)
            }
            seen = [medium for medium in media if not isinstance(medium, ImageError)]
            errors |= {r: wrong[examples[r].image] for r in batch if examples[r].image in wrong}
            rows = [row for row in batch if row not in errors]
            if rows:
                image = self._features([keys[path] for path in known], seen)
                order = [*known, *(path for path in new if path not in wrong)]
                place = {path: number for number, path in enumerate(order)}
                yield rows, _of_rows(image, [place[examples[row].image] for row in rows])

    def _features(self, keys: Sequence[str], seen: Sequence[Seen]) -> Features:
        """Features of pictures that are stored, then of others."""
        parts = []
        if keys and self._stored:
            parts.append(self._stored.features(keys))
        if seen:
            encoded = encode_seen(self.model, seen)
            parts.append(halved(encoded) if self._stored else encoded)
        return parts[0] if len(parts) == 1 else stack(parts)

    def _answered_but(
        self,
        errors: dict[int, str],
        image: Features,
        rows: Sequence[int],
        examples: Sequence[Example],
    ) -> dict[int, Answer]:
        """The answers of rows but for those whose question this model cannot read, as one that is
        too long for it; `errors` says why."""
        try:
            return self._answered(image, rows, examples)
        except QuestionError as error:
            if len(rows) == 1:
                errors[rows[0]] = str(error)
                return {}
        answers: dict[int, Answer] = {}
        for place, row in enumerate(rows):
            answers |= self._answered_but(errors, _of_rows(image, [place]), [row], examples)
        return answers

    def _answered(
        self, image: Features, rows: Sequence[int], examples: Sequence[Example]
    ) -> dict[int, Answer]:
        questions, numbers = distinct([examples[row].question.strip() for row in rows])
        text = _of_rows(self.model.encode_text(questions), numbers.tolist())
        text = text.with_ocr(ocr_of([examples[row] for row in rows]))
        fused = self.model.fusion(image, text)
        answers = self._best(fused, [examples[row] for row in rows])
        return dict(zip(rows, answers, strict=True))


def _of_rows(features: Features, rows: Sequence[int]) -> Features:
    """Features of distinct pictures or questions, for the rows that ask."""
    if list(rows) == list(range(len(features))):
        return features
    place = torch.tensor(rows, dtype=torch.long)  # (B,)
    return features.index(place.to(next(iter(features.tensors().values())).device))


def as_record(example: Example, answer: Answer | None, error: str) -> Record:
    """One row of a file of answers."""
    return {
        "question_id": writable(example.question_id),
        "image": writable(example.image.name),
        "image_path": writable(example.image_path) or None,
        "question": writable(example.question),
        "answer": answer.text if answer else None,
        "score": answer.score if answer and not math.isnan(answer.score) else None,
        "answer_type": answer.answer_type if answer else None,
        "answerable": answer.answerable if answer else None,
        "abstained": answer.abstained if answer else None,
        "error": writable(error) or None,
    }


def as_answer(record: Record) -> Answer:
    """The answer of a row that `as_record` wrote down without an error."""
    score = math.nan if record["score"] is None else record["score"]
    return Answer(
        record["answer"],
        score,
        record["answer_type"],
        record["answerable"],
        abstained=record["abstained"],
    )


def writable(text: str) -> str:
    """The text; half a character, as of names that are not UTF-8, is written out as an escape."""
    return text.encode(errors="backslashreplace").decode()
