"""Several people at one demo: each gets the answer about the own picture."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from vqazoo.interfaces import Answer
from vqazoo_demo.asking import Models, Reply
from vqazoo_demo.flagging import FlaggedTable
from vqazoo_tiny_clip.render import draw_scene

ATTENTIVE = "tiny-clip-mlp-sortofclevr"
LSTM = "tiny-clip-lstm-easyvqa"
USERS = 6


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


class Slow:
    """A model that notes how many ask it at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def answer(
        self, picture: Image.Image, question: str, top_k: int, abstain_at_risk: float | None
    ) -> Answer:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.02)
        with self.lock:
            self.inside -= 1
        return Answer(question, 0.5)


def all_at_once(models: Models, names: list[str], look: bool = False) -> list[Reply]:
    pictures = [draw_scene(random.Random(number)).paint() for number in range(len(names))]
    start = threading.Barrier(len(names), timeout=60)
    replies: list[Reply | None] = [None] * len(names)

    def user(number: int) -> None:
        start.wait()
        question = "what color is the shape?"
        replies[number] = models.ask(names[number], pictures[number], question, 1, look)

    threads = [threading.Thread(target=user, args=(number,)) for number in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [reply for reply in replies if reply is not None]


def test_a_model_answers_one_after_the_other_and_other_models_meanwhile() -> None:
    models = Models([])
    one, other = Slow(), Slow()
    models._loaded = {ATTENTIVE: one, LSTM: other}  # type: ignore[dict-item]
    began = time.monotonic()
    all_at_once(models, [ATTENTIVE, LSTM] * (USERS // 2))
    assert (one.most, other.most) == (1, 1)
    assert time.monotonic() - began < 0.02 * USERS + 1


@pytest.mark.proof
@pytest.mark.parametrize("name", [ATTENTIVE, LSTM])
def test_each_user_gets_the_answer_and_the_look_of_the_own_picture(name: str) -> None:
    models = Models([])
    alone = [
        models.ask(name, draw_scene(random.Random(n)).paint(), "what color is the shape?", 1, True)
        for n in range(USERS)
    ]
    for found, wanted in zip(all_at_once(models, [name] * USERS, look=True), alone, strict=True):
        assert found.answer is not None, found.problem
        assert wanted.answer is not None
        assert found.answer.text == wanted.answer.text
        assert found.answer.score == pytest.approx(wanted.answer.score, rel=1e-4)
        assert found.look is not None, found.no_look
        assert wanted.look is not None
        assert (found.look.place, found.look.words) == (wanted.look.place, wanted.look.words)


def test_every_way_to_ask_waits_in_the_same_line(tmp_path: Path) -> None:
    """Gradio gives each event a line of its own, so that a click overtook Enter."""
    pytest.importorskip("gradio")
    from vqazoo_demo import page

    blocks = page.build(Models([]), FlaggedTable(tmp_path / "flagged.csv"), 1, tmp_path)
    asking = [fn for fn in blocks.fns.values() if getattr(fn.fn, "__name__", "") == "ask"]
    assert len(asking) > 2, "click, Enter and the examples"
    assert {(fn.concurrency_id, fn.concurrency_limit) for fn in asking} == {("ask", 8)}
