"""Pixels of picture and video files, decoded by a few threads. Imports torch."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from vqazoo.errors import ImageError
from vqazoo.features.encoding import Seen, Towers, need_frames
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels
from vqazoo.media.video import is_video, watch

T = TypeVar("T")

DECODE_THREADS = 4
AHEAD = 2  # batches of pictures decoded while one is encoded


def load_pixels(
    towers: Towers,
    paths: Sequence[Path],
    augment: str = "none",
    generator: random.Random | None = None,
) -> list[Seen]:
    """Pixels of picture and video files, decoded by a few threads.

    With `generator`, each file gets its own seed from it, so threads do not change the result; the
    frames of a video are drawn alike.
    """
    seeds = [generator.getrandbits(64) if generator else None for _ in paths]
    draws = [None if seed is None else random.Random(seed) for seed in seeds]
    with ThreadPoolExecutor(DECODE_THREADS) as threads:
        return list(threads.map(_decoder(towers, augment), paths, draws))


def decoded_ahead(towers: Towers, batches: Iterable[list[Path]]) -> Iterator[list[Seen]]:
    """Pixels of each batch; the next batches are decoded while one is used."""
    decode = _decoder(towers)
    return _ahead(lambda path: decode(path, None), batches)


def tried_ahead(towers: Towers, batches: Iterable[list[Path]]) -> Iterator[list[Seen | ImageError]]:
    """As `decoded_ahead`, with what is wrong in the place of what cannot be read."""
    decode = _decoder(towers)

    def attempt(path: Path) -> Seen | ImageError:
        try:
            return decode(path, None)
        except ImageError as error:
            return error

    return _ahead(attempt, batches)


def _ahead(work: Callable[[Path], T], batches: Iterable[list[Path]]) -> Iterator[list[T]]:
    """What `work` makes of each file, by a few threads that run some batches ahead."""
    with ThreadPoolExecutor(DECODE_THREADS) as threads:
        waiting: deque[list[Future[T]]] = deque()
        for batch in batches:
            waiting.append([threads.submit(work, path) for path in batch])
            if len(waiting) > AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]


def _decoder(towers: Towers, augment: str = "none") -> Callable[[Path, random.Random | None], Seen]:
    preprocess = towers.image_encoder.spec.preprocess

    def decode(path: Path, draw: random.Random | None) -> Seen:
        if not is_video(path):
            return pixels(open_image(path), preprocess, augment, draw)
        state = draw.getstate() if draw else None
        frames = []
        for frame in watch(path, need_frames(towers, path)):
            if draw and state:
                draw.setstate(state)
            frames.append(pixels(frame, preprocess, augment, draw))
        return frames

    return decode
