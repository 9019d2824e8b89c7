"""Replies are the markup that was made before there were templates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.support.markup import golden, without_blanks
from vqazoo.interfaces import Answer
from vqazoo_demo import results
from vqazoo_demo.asking import Look, Reply

EVIL = "<script>alert('1')</script> & \"more\""
PICTURE = Image.new("RGB", (40, 30), "white")
OTHERS = (Answer("blue", 0.1234), Answer(EVIL, 0.001))
REPLIES = [
    Reply(EVIL, problem=EVIL),
    Reply("sure", Answer(EVIL, 0.999, alternatives=OTHERS), look=Look(PICTURE, "at the top", ())),
    Reply(
        "looks",
        Answer("red", 0.5, answerable=0.75),
        look=Look(PICTURE, "in the middle", ("what", EVIL)),
    ),
    Reply("refuses", Answer("unanswerable", 0.7, alternatives=OTHERS), no_look=EVIL),
    Reply("refuses wholly", Answer("unsuitable", 0.7)),
    Reply("has doubts", Answer(EVIL, 0.004, answerable=0.1)),
]
CASES = {
    "replies.html": lambda: results.page(PICTURE, f"{EVIL}?", REPLIES),
    "waiting.html": lambda: results.page(PICTURE, "what?", REPLIES[:1], waiting_for=EVIL),
    "nothing.html": lambda: results.page(PICTURE, "", []),
    "problem.html": lambda: results.problem(EVIL),
    "saved-one.html": lambda: results.saved(Path(f"a b/{EVIL}.csv"), 1),
    "saved-more.html": lambda: results.saved(Path("rows.csv"), 12),
}


def drawn(html: str) -> str:
    """Without the bytes of pictures, which differ by the version of Pillow."""
    return re.sub(r"base64,[\w+/=]+", "base64,...", html)


@pytest.mark.parametrize("name", CASES)
def test_replies_are_what_they_were_before_there_were_templates(name: str) -> None:
    made = CASES[name]()
    assert "<script" not in made
    assert drawn(without_blanks(made)) == golden(__file__, name)
