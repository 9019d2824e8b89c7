"""A whole split answered into a file, a part at a time. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from vqazoo.amounts import number
from vqazoo.config import plain
from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.evaluation import answer_parts
from vqazoo.evaluation.answer_file import Record
from vqazoo.evaluation.answer_parts import AnswerParts, Counts, Part, in_parts
from vqazoo.evaluation.answering import Asking
from vqazoo.evaluation.row_answers import CACHED, LIVE, as_answer
from vqazoo.evaluation.split import signature
from vqazoo.features.filling import weights_sha256
from vqazoo.features.lookup import StoredImages
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import while_writing
from vqazoo.interfaces import Answer, floating_dtype, state_sha256
from vqazoo.model import VQAModel
from vqazoo.progress import Pace, Report

FEATURES = "source of features"

# Takes parts, and gives each back with its records, in any order; tells how many more rows it has
# answered, meanwhile.
AnswerEngine = Callable[
    [Iterator[Part], Callable[[int], None]], Iterator[tuple[Part, Sequence[Record]]]
]


@dataclass(frozen=True)
class Request:
    """What is asked of which rows.

    Attributes:
        data, split: names, as in signatures; args: arguments of the dataset.
        features: LIVE or CACHED, see `RowAnswers`.
    """

    asking: Asking
    data: str
    split: str
    args: Mapping[str, Any]
    features: str

    def plan(self, model: VQAModel) -> dict[str, Any]:
        """What every run must have that goes on with parts of another."""
        return {
            "model": f"{signature(model)}|weights:{digest_of(model)[:16]}",
            "data": self.data,
            "data arguments": dict(self.args),
            "split": self.split,
            "way of asking": self.asking.signature(model),
            **self._confidence(model),
            FEATURES: self.features,
            "rows of a part": answer_parts.PART_ROWS,
        }

    def _confidence(self, model: VQAModel) -> dict[str, Any]:
        """What the scores depend on besides; nothing of a model without a calibration."""
        if model.calibration is None:
            return {}
        said = model.calibration.to_json() if self.asking.calibrated else "none"
        return {"calibration": said, "abstain_at_risk": self.asking.abstain_at_risk}


def source_of_features(
    parts: AnswerParts, model: VQAModel, cache: str, examples: Iterator[Example]
) -> tuple[str, Iterator[Example]]:
    """LIVE or CACHED, and the examples again, of which some were looked at.

    It is settled once for all parts, so that the file does not depend on what is cached meanwhile:
    as the plan of kept parts says; else CACHED if most pictures of the first part are cached.
    """
    if (planned := parts.planned(FEATURES)) in (LIVE, CACHED):
        return str(planned), examples
    first = list(islice(examples, answer_parts.PART_ROWS))
    stored = StoredImages(model, cache)
    cached = stored.has_most(example.image for example in first)
    stored.save()
    return CACHED if cached else LIVE, chain(first, examples)


def digest_of(model: VQAModel) -> str:
    """SHA-256 of all that answers depend on: weights, answer list, what pixels are made of."""
    state = hashlib.sha256()
    for side, encoder in (("image", model.image_encoder), ("text", model.text_encoder)):
        state.update(weights_sha256(encoder, model.holds_tower(side)).encode())
    state.update(json_text(model.image_encoder.spec.preprocess.to_json(), sort_keys=True).encode())
    state.update(str(floating_dtype(model)).encode())
    state.update(json_text(model.answers.texts).encode())
    for part in (model.fusion, model.head):
        state.update(state_sha256(part).encode())
    return state.hexdigest()


def whole_digest_of(model: VQAModel) -> str:
    """SHA-256 of all that answers and their scores depend on: as `digest_of`, and the config and
    calibration, by which models with the same weights differ."""
    said = model.calibration.to_json() if model.calibration is not None else None
    words = json_text([digest_of(model), plain(model.config), said], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def answer_to_file(
    parts: AnswerParts,
    plan: Mapping[str, Any],
    examples: Iterator[Example],
    engine: AnswerEngine,
    report: Report = print,
    total: int | Callable[[], int] = 0,
) -> Counts:
    """Answer the rows whose parts are not there yet, then join all.

    Args:
        total: how many rows there are, or what estimates it meanwhile, to tell how long it takes;
            0: not known.

    Raises:
        DataError: the file is there, or the parts that are there are of something else; a file
            cannot be written; another process answers into the same file.
    """
    with _alone(parts):
        if (before := parts.finished(plan, examples)) is not None:  # perhaps meanwhile, by another
            return before
        return parts.join(_answer_missing(parts, plan, examples, engine, report, total))


def answers_kept(
    parts: AnswerParts,
    plan: Mapping[str, Any],
    examples: Sequence[Example],
    engine: AnswerEngine,
    report: Report = print,
) -> list[Answer]:
    """The answers to all rows: those of parts that are there, and of others, which are kept from
    now on until `parts.tidy()`.

    Raises:
        DataError: as `answer_to_file`.
    """
    with _alone(parts):
        parts_there = _answer_missing(parts, plan, iter(examples), engine, report, len(examples))
        return [as_answer(record) for part in range(parts_there) for record in parts.records(part)]


@contextmanager
def _alone(parts: AnswerParts) -> Iterator[None]:
    """Be the one process that answers into these parts."""
    with ExitStack() as stack:
        with parts.writing():
            stack.enter_context(while_writing(parts.folder, DataError))
        yield


def _answer_missing(
    parts: AnswerParts,
    plan: Mapping[str, Any],
    examples: Iterator[Example],
    engine: AnswerEngine,
    report: Report,
    total: int | Callable[[], int],
) -> int:
    """Answer the rows whose parts are not there yet; how many parts there are then."""
    parts.begin(plan)
    if before := parts.answered():
        report(f"Going on with '{parts.folder}': {before:,} parts were answered before.")
    told, last = Pace(report, "Rows answered", number, total), -1

    def missing() -> Iterator[Part]:
        nonlocal last
        for part in in_parts(examples):
            last = part.number
            if parts.holds(part):
                told.spare(len(part.rows))
            else:
                yield part

    for part, records in engine(missing(), told.more):
        parts.add(part, records)
    return last + 1
