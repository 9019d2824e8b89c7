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
        future: will hold the `top_k` best answers, best first.
    """

    model: str
    picture: Picture
    question: str
    top_k: int
    candidates: tuple[str, ...] | None
    future: Future[list[Answer]] = field(default_factory=Future)


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
            groups.setdefault((row.model, row.top_k, row.candidates), []).append(row)
        with torch.inference_mode():
            for group in groups.values():
                self._attempt(group)
        if rows:
            self._metrics.batch.observe(len(rows))
            self._metrics.batch_seconds.observe(time.perf_counter() - started)

    def _attempt(self, rows: Sequence[Row]) -> None:
        """Answer rows of one kind; if that fails, one by one, so that only the culprit fails."""
        try:
            ranked = self._ranked(rows)
        except Exception as error:
            if len(rows) == 1:
                rows[0].future.set_exception(error)
                return
            if not isinstance(error, VqazooError):  # it may not show again
                LOG.error("failed", extra={"fields": {"questions": len(rows)}}, exc_info=error)
            for row in rows:
                self._attempt([row])
            return
        for row, answers in zip(rows, ranked, strict=True):
            row.future.set_result(answers)

    def _ranked(self, rows: Sequence[Row]) -> list[list[Answer]]:
        """The answers of B rows that share a model, `top_k` and candidates."""
        first = rows[0]
        model = self._models[first.model]
        if any(row.question for row in rows):
            model.check_reads_questions()
        for row in rows:
            _check_length(model, row.question)
        pictures = self._features(
            first.model,
            "image",
            {row.picture.digest: row.picture for row in rows},
            lambda unknown: encode_pictures(model, [_pixels(picture) for picture in unknown]),
        )
        questions = self._features(
            first.model,
            "text",
            {row.question: row.question for row in rows},
            model.encode_text,
        )
        fused = model.fusion(
            stack([pictures[row.picture.digest] for row in rows]),  # (B, D) or (B, N, D)
            stack([questions[row.question] for row in rows]),  # (B, D) or (B, L, D)
        )
        if first.candidates is None:
            options = model.decode_options({}, first.top_k)
            return model.answers_of(fused, first.top_k, **options)
        return model.ranks(first.candidates)(fused, first.top_k)

    def _features(
        self,
        model: str,
        side: str,
        sources: Mapping[str, Source],
        encode: Callable[[list[Source]], Features],
    ) -> dict[str, Features]:
        """Features by key: those that are kept, and the others computed together and kept."""
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
        return features


def _check_length(model: VQAModel, question: str) -> None:
    """Refuse a question whose end the text encoder would not read."""
    longest = model.text_encoder.spec.context_length
    (ids,) = model.text_encoder.pieces([question])
    if len(ids) + 2 > longest:  # start and end
        raise QuestionError(
            f"The question has {len(ids)} tokens, but this model reads at most {longest - 2}: "
            f"shorten it."
        )


def _pixels(picture: Picture) -> torch.Tensor:
    assert picture.pixels is not None  # or its features are there
    return picture.pixels
