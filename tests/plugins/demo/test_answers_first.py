"""Answers stand on the page while it is still computed where the models looked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page is made with Gradio")
from vqazoo.interfaces import Answer
from vqazoo_demo.asking import Look, Reply
from vqazoo_demo.page import Asked, Conversation

PICTURE = Image.new("RGB", (8, 8), "red")
ANSWERS = {"one": "sofa", "other": "table"}


class Slow(SimpleNamespace):
    """Models that say what they were asked for."""

    def ask(self, name: str, picture: Any, question: str, top_k: int, show_look: bool) -> Reply:
        assert not show_look
        self.done.append(f"answer of {name}")
        return Reply(name, Answer(ANSWERS[name], 0.9))

    def looked(self, name: str, reply: Reply, picture: Any, question: str) -> Reply:
        self.done.append(f"look of {name}")
        return replace(reply, look=Look(PICTURE, "in the middle", ()))


def test_all_answers_are_told_before_the_first_look_is_computed(tmp_path: Path) -> None:
    file = tmp_path / "p.png"
    PICTURE.save(file)
    models = Slow(done=[], labels={name: name for name in ANSWERS})
    steps = Conversation(models, None, 1).ask(str(file), "what?", list(ANSWERS), True)  # type: ignore[arg-type]
    seen = {}
    for page, status, asked, _ in steps:
        if isinstance(asked, Asked):
            seen.setdefault(len(models.done), (page, status))
    first, status = seen[2]
    assert models.done == ["answer of one", "answer of other", "look of one", "look of other"]
    for answer in ANSWERS.values():
        assert answer in first
        assert answer in status
    assert "Where “one” looked is still computed" in first
    assert "It looked most" not in first
    last, _ = seen[4]
    assert last.count("It looked most") == 2
    assert "still computed" not in last
