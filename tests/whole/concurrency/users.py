"""Eight users who ask at the same moment, and what each should get."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel

THREADS = 8
PATIENCE = 60  # seconds until a user who did not come is told of
QUESTIONS = (
    "what color ?",
    "is this red",
    "what is this?",
    "the shape ?",
    "is it a circle",
    "a color ?",
    "is it blue",
    "red or blue ?",
)


def together(call: Callable[[int], Any], times: int = 1) -> list[list[Any]]:
    """What `call(user)` gives to each of the users, who all start at the same moment."""
    start = threading.Barrier(THREADS, timeout=PATIENCE)
    given: list[list[Any]] = [[] for _ in range(THREADS)]

    def user(number: int) -> None:
        start.wait()
        for _ in range(times):
            try:
                given[number].append(call(number))
            except Exception as error:  # told by the assertion of the caller
                given[number].append(error)

    threads = [threading.Thread(target=user, args=(number,)) for number in range(THREADS)]
    for before, thread in enumerate(threads):
        thread.start()
        # One after another: CPython 3.11 lets a thread die that begins while another is traced.
        until = time.monotonic() + PATIENCE
        while before + 1 < THREADS and start.n_waiting <= before:
            assert time.monotonic() < until, f"user {before} did not come"
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert [len(one) for one in given] == [times] * THREADS, "a user gave up"
    return given


def same_answer(found: Any, wanted: Answer) -> bool:
    return (
        isinstance(found, Answer)
        and found.text == wanted.text
        and found.score == pytest.approx(wanted.score, rel=1e-3, abs=1e-6)
    )


def asked(model: VQAModel, pictures: list[Image.Image], number: int) -> Answer:
    if model.config.fusion.type == "image-tokens":  # a captioner, which reads no question
        return model.caption(pictures[number], max_tokens=6)
    return model.answer(pictures[number], QUESTIONS[number])
