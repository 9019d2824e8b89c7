"""Questions of many requests answered together by the one thread that owns the models.

Imports torch.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, TypeVar

import torch

from vqazoo.choosing.scoring import UNSCORED_WAY, Scoring, scoring_of
from vqazoo.decisions import Decision, DecisionQuestion, Refusal
from vqazoo.errors import QuestionError, VqazooError
from vqazoo.features.encoding import READ_BY, encode_pictures, stack
from vqazoo.interfaces import Answer, Features
from vqazoo.model import VQAModel
from vqazoo_serve.feature_cache import FeatureCache, single
from vqazoo_serve.images import Picture
from vqazoo_serve.metrics import Metrics

LOG = logging.getLogger("vqazoo_serve")
Source = TypeVar("Source")


@dataclass(frozen=True)
class Row:
    """One question about one picture, and the place for its answers.

    Attributes:
        model: its name.
        candidates: the answers to choose from; None: the head's own.
        decides: what is to be decided instead; the question is its text.
        calibrated: whether scores are made probabilities.
        future: will hold the `top_k` best answers, best first, or an `Outcome`.
    """

    model: str
    picture: Picture
    question: str
    top_k: int
    candidates: tuple[str, ...] | None
    decides: DecisionQuestion | None = None
    calibrated: bool = True
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class Outcome:
    """What was decided, and the tokens that were read for it.

    Attributes:
        question_tokens, picture_tokens: of the towers; 0: not read.
        question_kept, picture_kept: whether their features were there already.
    """

    decision: Decision
    question_tokens: int = 0
    picture_tokens: int = 0
    question_kept: bool = False
    picture_kept: bool = False


class Batcher:
    """Takes rows from any thread and answers them in batches.

    A picture is encoded once for all questions about it, in a batch and, while the cache keeps its
    features, across batches; so is a question. A row's answers do not depend on the others.

    Args of the constructor: `models` by name, in eval mode; `max_batch` rows; `max_wait` seconds
    for a batch to fill; the cache; the metrics.
    """

    def __init__(
        self,
        models: Mapping[str, VQAModel],
        max_batch: int,
        max_wait: float,
        cache: FeatureCache,
        metrics: Metrics,
    ) -> None:
        self._models = models
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._cache = cache
        self._metrics = metrics
        self._scorings: dict[str, Scoring] = {}
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._thread = Thread(target=self._work, name="vqazoo-batches", daemon=True)
        metrics.watch(self._rows.qsize, lambda: cache.used)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, row: Row) -> None:
        """Queue a row; its future is done some time later. A cancelled one is skipped."""
        self._rows.put(row)

    def close(self) -> None:
        """Answer what is queued, then end the thread."""
        self._rows.put(None)
        self._thread.join()

    # ---- the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        open_ = True
        while open_ and (row := self._rows.get()) is not None:
            batch = [row]
            until = time.monotonic() + self._max_wait
            while len(batch) < self._max_batch:
                try:
                    following = self._rows.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    break
                if following is None:
                    open_ = False
                    break
                batch.append(following)
            self._answer(batch)

    def _answer(self, batch: Sequence[Row]) -> None:
        started = time.perf_counter()
        rows = [row for row in batch if row.future.set_running_or_notify_cancel()]
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            deciding = row.decides is not None
            kind = (row.model, row.top_k, row.candidates, deciding, row.calibrated)
            groups.setdefault(kind, []).append(row)
        with torch.inference_mode():
            for group in groups.values():
                self._attempt(group)
        if rows:
            self._metrics.batch.observe(len(rows))
            self._metrics.batch_seconds.observe(time.perf_counter() - started)

    def _attempt(self, rows: Sequence[Row]) -> None:
        """Answer rows of one kind; if that fails, one by one, so that only the culprit fails."""
        try:
            results = self._ranked(rows) if rows[0].decides is None else self._decided(rows)
        except Exception as error:
            if len(rows) == 1:
                rows[0].future.set_exception(error)
                return
            if not isinstance(error, VqazooError):  # it may not show again
                LOG.error("failed", extra={"fields": {"questions": len(rows)}}, exc_info=error)
            for row in rows:
                self._attempt([row])
            return
        for row, result in zip(rows, results, strict=True):
            row.future.set_result(result)

    def _ranked(self, rows: Sequence[Row]) -> list[list[Answer]]:
        """The answers of B rows that share a model, `top_k` and candidates."""
        first = rows[0]
        model = self._models[first.model]
        for count in _token_counts(model, rows).values():
            if long := _too_long(model, count):
                raise QuestionError(long)
        fused = self._read(rows).fused
        if first.candidates is None:
            options = model.decode_options({}, first.top_k)
            return model.answers_of(fused, first.top_k, first.calibrated, **options)
        return model.ranks(first.candidates, first.calibrated)(fused, top_k=first.top_k)

    def _decided(self, rows: Sequence[Row]) -> list[Outcome]:
        """The decisions of B rows that share a model; a question that is too long is refused."""
        model = self._models[rows[0].model]
        counts = _token_counts(model, rows)
        outcomes = {
            place: Outcome(Refusal(long))
            for place, row in enumerate(rows)
            if (long := _too_long(model, counts[row.question]))
        }
        places = [place for place in range(len(rows)) if place not in outcomes]
        if places:
            short = [rows[place] for place in places]
            read = self._read(short)
            asked = [row.decides for row in short if row.decides is not None]
            decisions = model.decisions_of(read.fused, asked, self._scoring(rows[0].model))
            for place, row, decision in zip(places, short, decisions, strict=True):
                outcomes[place] = read.outcome(row, counts[row.question], decision)
        return [outcomes[place] for place in range(len(rows))]

    def _scoring(self, name: str) -> Scoring:
        if name not in self._scorings:
            self._scorings[name] = scoring_of(self._models[name], UNSCORED_WAY)
        return self._scorings[name]

    def _read(self, rows: Sequence[Row]) -> Read:
        """Fused features of B rows that share a model."""
        name = rows[0].model
        model = self._models[name]
        if any(row.question for row in rows):
            model.check_reads_questions()
        pictures, new_pictures = self._features(
            name,
            "image",
            {row.picture.digest: row.picture for row in rows},
            lambda unknown: encode_pictures(model, [_pixels(picture) for picture in unknown]),
        )
        questions, new_questions = self._features(
            name, "text", {row.question: row.question for row in rows}, model.encode_text
        )
        fused = model.fusion(
            stack([pictures[row.picture.digest] for row in rows]),  # (B, D) or (B, N, D)
            stack([questions[row.question] for row in rows]),  # (B, D) or (B, L, D)
        )
        return Read(fused, pictures, frozenset(new_pictures), frozenset(new_questions))

    def _features(
        self,
        model: str,
        side: str,
        sources: Mapping[str, Source],
        encode: Callable[[list[Source]], Features],
    ) -> tuple[dict[str, Features], list[str]]:
        """Features by key, those that are kept and the others computed together and kept; and the
        keys of the others."""
        features: dict[str, Features] = {}
        for key, source in sources.items():
            held = source.features if isinstance(source, Picture) else None
            kept = held or self._cache.get((model, side, key))
            if kept is not None:
                features[key] = kept
        unknown = [key for key in sources if key not in features]
        self._metrics.features.labels(READ_BY[side], "cache").inc(len(features))
        self._metrics.features.labels(READ_BY[side], "computed").inc(len(unknown))
        if unknown:
            encoded = encode([sources[key] for key in unknown])
            for place, key in enumerate(unknown):
                features[key] = single(encoded, place)
                self._cache.put((model, side, key), features[key])
        return features, unknown


@dataclass(frozen=True)
class Read:
    """What a batch read.

    Attributes:
        fused: of B rows. pictures: features of single pictures, by digest.
        new_pictures, new_questions: those that had to be encoded.
    """

    fused: Features
    pictures: Mapping[str, Features]
    new_pictures: frozenset[str]
    new_questions: frozenset[str]

    def outcome(self, row: Row, question_tokens: int, decision: Decision) -> Outcome:
        seen = self.pictures[row.picture.digest]
        return Outcome(
            decision,
            question_tokens,
            1 if seen.tokens is None else seen.tokens.shape[1],
            row.question not in self.new_questions,
            row.picture.digest not in self.new_pictures,
        )


def _token_counts(model: VQAModel, rows: Sequence[Row]) -> dict[str, int]:
    """Tokens that the text encoder reads of each question, start and end included."""
    questions = list({row.question: None for row in rows})
    pieces = model.text_encoder.pieces(questions)
    return {text: len(ids) + 2 for text, ids in zip(questions, pieces, strict=True)}


def _too_long(model: VQAModel, count: int) -> str:
    """Why a question of so many tokens cannot be read to its end; empty: it can."""
    longest = model.text_encoder.spec.context_length
    if count <= longest:
        return ""
    return (
        f"The question has {count - 2} tokens, but this model reads at most {longest - 2}: "
        f"shorten it."
    )


def _pixels(picture: Picture) -> torch.Tensor:
    assert picture.pixels is not None  # or its features are there
    return picture.pixels
