"""From a checked request to its answers: pictures made ready in threads, rows put into batches.

Imports torch.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from vqazoo.choosing.scoring import UNSCORED_WAY, scoring_of
from vqazoo.decisions import asked_text
from vqazoo.errors import ConfigError, VqazooError, did_you_mean
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo.phrasing import Words
from vqazoo.quality import QUALITY_QUESTION, Quality, quality_of
from vqazoo.wording import spoken
from vqazoo_serve.batching import Batcher, Outcome, Row
from vqazoo_serve.bodies import Asked
from vqazoo_serve.decision_bodies import Sheet
from vqazoo_serve.feature_cache import FeatureCache
from vqazoo_serve.fetch import fetch
from vqazoo_serve.images import LargePicture, Picture, prepare
from vqazoo_serve.metrics import Metrics
from vqazoo_serve.settings import Refusal, Settings

T = TypeVar("T")
READ_AT_ONCE = 1 << 16  # bytes: fields are read in well under a hundredth of a second
DECODING_THREADS = 2
# Larger ones have threads of their own: whoever sends many of them delays only others like them.
QUICK_PIXELS = 4_000_000
# Each may hold a picture of `max_pixels`. They leave half of the cores to everything else.
LARGE_THREADS = max(1, min(DECODING_THREADS, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True)
class Answered:
    """What is answered to a request.

    Attributes:
        model: its name.
        answers: to each question, with the next best.
        pictures: the digest of each picture.
        qualities: of each picture; empty: nobody judges them.
    """

    model: str
    answers: list[Answer]
    pictures: list[str]
    qualities: list[Quality]

    def spoken(self, number: int) -> str:
        """What a screen reader says of the answer to a question."""
        quality = None
        if self.qualities:
            quality = self.qualities[number if len(self.qualities) > 1 else 0]
        return spoken(self.answers[number], quality)


class Answering:
    """The models of a service, what they keep, and who waits for them.

    Args of the constructor: `models` by name, in eval mode, the first one is the default.
    """

    def __init__(
        self, models: Mapping[str, VQAModel], settings: Settings, metrics: Metrics
    ) -> None:
        self.models = dict(models)
        if settings.quality and not self.models[settings.quality].head_manifest.flaws:
            raise ConfigError(
                f"The model '{settings.quality}' answers questions, but --quality names one that "
                f"judges pictures, such as tiny-clip-quality-flawedshapes."
            )
        if copying := [name for name, m in self.models.items() if m.head_manifest.reads_ocr]:
            raise ConfigError(
                f"The model '{copying[0]}' copies words that a reader of text found in a picture, "
                f"but requests hold pictures and questions alone: answer with  vqazoo ask "
                f"--ocr-tokens  or  vqazoo predict, or serve another model."
            )
        self._words: dict[str, Words] = {}
        self._settings = settings
        self._cache = FeatureCache(settings.cache_bytes)
        self.batcher = Batcher(
            self.models, settings.max_batch, settings.max_wait_ms / 1000, self._cache, metrics
        )
        self.reading = ThreadPoolExecutor(1, "vqazoo-bodies")  # holds Python's lock: one is enough
        self._quick = ThreadPoolExecutor(DECODING_THREADS, "vqazoo-pictures")
        self._large = ThreadPoolExecutor(LARGE_THREADS, "vqazoo-large-pictures")

    def close(self) -> None:
        """Answer what was taken, then stop."""
        for pool in (self.reading, self._quick, self._large):
            pool.shutdown()
        self.batcher.close()

    async def read_body(self, size: int, read: Callable[[], T]) -> T:
        """What a body of that many bytes says. The event loop reads a small one itself: handing it
        to a thread costs as much as reading it."""
        if size <= READ_AT_ONCE:
            return read()
        return await asyncio.get_running_loop().run_in_executor(self.reading, read)

    async def answer(self, asked: Asked) -> Answered:
        """The answers to all questions, and what is said of the pictures.

        Raises:
            Refusal: a model, candidates, picture or question that cannot be used.
        """
        name, judge = self._chosen(asked), self._settings.quality
        try:
            hold_back = self.models[name].holds_back(asked.abstain_at_risk, asked.calibrated)
            contents = await self._contents(asked.images or asked.urls)
            pictures = await self._prepared(name, contents, asked.ids)
            shared = pictures * len(asked.questions) if len(pictures) == 1 else pictures
            rows = [
                Row(
                    name,
                    picture,
                    question,
                    asked.top_k,
                    asked.candidates,
                    calibrated=asked.calibrated,
                )
                for picture, question in zip(shared, asked.questions, strict=True)
            ]
            if judge:
                known = len(self.models[judge].answers)
                judged = await self._prepared(judge, contents, asked.ids)
                rows += [Row(judge, picture, QUALITY_QUESTION, known, None) for picture in judged]
            for row in rows:
                self.batcher.submit(row)
            results = await _all([row.future for row in rows])
        except VqazooError as error:
            raise Refusal(422, "unusable", str(error)) from error
        best = [_first(answers) for answers in results]
        count = len(asked.questions)
        answers = [hold_back(answer) for answer in best[:count]]
        qualities = [quality_of(answer) for answer in best[count:]]
        return Answered(name, answers, [each.digest for each in pictures], qualities)

    async def decide(self, sheet: Sheet) -> list[Outcome | None]:
        """What is decided of each row of a sheet; None where nothing is asked.

        Raises:
            Refusal: a picture that cannot be used, or a model that does not choose.
        """
        try:
            pictures = await self._pictures(sheet.model, sheet.sources)
            rows = [
                Row(sheet.model, pictures[row[0]], asked_text(row[1]), 1, None, row[1])
                if row is not None
                else None
                for row in sheet.rows
            ]
            asked = [row for row in rows if row is not None]
            for row in asked:
                self.batcher.submit(row)
            outcomes = iter(await _all([row.future for row in asked]))
            return [None if row is None else next(outcomes) for row in rows]
        except VqazooError as error:
            raise Refusal(422, "unusable", str(error)) from error

    def words_of(self, name: str | None) -> tuple[str, Words]:
        """The name of a model, by default that of the first, and what it knows.

        Raises:
            Refusal: it is not served (404), or does not choose among given answers.
        """
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            raise not_served(name, self.models, status=404, where="GET /v1/models")
        if name not in self._words:
            try:
                self.models[name].check_reads_questions()
                scoring = scoring_of(self.models[name], UNSCORED_WAY)
            except VqazooError as error:
                raise Refusal(422, "field", str(error), place="model") from error
            self._words[name] = Words(scoring.knows, scoring.yes_and_no)
        return name, self._words[name]

    async def _pictures(self, name: str, sources: Sequence[bytes | str]) -> list[Picture]:
        """Pictures for a model by their contents or URLs."""
        return await self._prepared(name, await self._contents(sources))

    async def _contents(self, sources: Sequence[bytes | str]) -> list[bytes]:
        """Contents of files; those of URLs may together be as large as the body of a request."""
        contents: list[bytes] = []
        fetched = 0
        for source in sources:
            if isinstance(source, str):
                source = await fetch(source, self._settings.max_body - fetched)
                fetched += len(source)
            contents.append(source)
        return contents

    async def _prepared(
        self, name: str, contents: Sequence[bytes], ids: Sequence[str] = ()
    ) -> list[Picture]:
        """Pictures for a model by their contents, and those that are kept by their ids."""
        kept = [self._kept(name, digest) for digest in ids]
        return [*kept, *await asyncio.gather(*(self._picture(name, data) for data in contents))]

    def _kept(self, name: str, digest: str) -> Picture:
        features = self._cache.get((name, "image", digest))
        if features is None:
            raise Refusal(
                422,
                "field",
                f"The image of this id is not kept for the model '{name}': send the image itself.",
                place="image_id",
            )
        return Picture(digest, features=features)

    async def _picture(self, name: str, data: bytes) -> Picture:
        model = self.models[name]
        prepared = partial(
            prepare,
            data,
            self._settings.max_pixels,
            lambda digest: self._cache.get((name, "image", digest)),
            model.transform,
        )
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._quick, prepared, QUICK_PIXELS)
        except LargePicture:
            return await loop.run_in_executor(self._large, prepared)

    def _chosen(self, asked: Asked) -> str:
        name = next(iter(self.models)) if asked.model is None else asked.model
        if name not in self.models:
            raise not_served(name, self.models)
        if asked.candidates is not None and not can_rank(self.models[name]):
            raise Refusal(
                422,
                "field",
                f"The model '{name}' does not choose among candidates: leave out the field "
                f"'candidates', or name a model that does, see GET /models.",
            )
        return name


def _first(answers: Sequence[Answer]) -> Answer:
    """The best answer, with the others as its alternatives."""
    return replace(answers[0], alternatives=tuple(answers[1:]))


async def _all(futures: Sequence[Future[Any]]) -> list[Any]:
    """The results of all; the event loop is woken once, not for each of hundreds."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    left = len(futures)
    lock = Lock()

    def all_ended() -> None:
        if not done.done():  # or cancelled
            done.set_result(None)

    def ended(_: Future[Any]) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = not left
        if last and not loop.is_closed():
            loop.call_soon_threadsafe(all_ended)

    for future in futures:
        future.add_done_callback(ended)
    try:
        if futures:
            await done
    except asyncio.CancelledError:
        for future in futures:
            future.cancel()
        raise
    return [future.result() for future in futures]


def not_served(
    name: str, served: Iterable[str], status: int = 422, where: str = "GET /models"
) -> Refusal:
    """No model has that name; `where` says which there are."""
    return Refusal(
        status,
        "field",
        f"The model {name[:80]!r} is not served.{did_you_mean(name[:80], served)} "
        f"{where} lists those that are.",
        place="model",
    )


def can_rank(model: VQAModel) -> bool:
    """Whether the model chooses among given candidates."""
    return model.chooses
