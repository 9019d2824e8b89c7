"""Replies as HTML and as a sentence to be read out. Imports jinja2 and Pillow."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vqazoo import wording
from vqazoo.amounts import percent
from vqazoo.calibration.abstaining import REFUSALS
from vqazoo.interfaces import Answer
from vqazoo.templates import fill
from vqazoo_demo.asking import Reply

NOTHING_YET, AT_ONCE = "The answers will stand here.", " An example asks at once."
WORTH_SAYING = 0.1  # score from which on the best guess is told where there is no answer
HEAT_MAP, THUMBNAIL = 640, 96  # pixels of the longer side


def share(score: float) -> str:
    """A probability in words that promise neither certainty nor impossibility."""
    if score > 0.99:
        return "over 99%"
    return "under 1%" if score < 0.01 else percent(score, 0)


class Turn(NamedTuple):
    """What was asked before about the same picture, and what was said."""

    question: str
    said: str


def spoken(reply: Reply) -> str:
    """A reply as a sentence, for the status line that screen readers announce."""
    if reply.answer is None:
        return f"{reply.model} has no answer. {reply.problem}"
    return f"{reply.model} says: {wording.spoken(reply.answer, reply.quality)}"


def page(
    picture: Image.Image,
    question: str,
    replies: Sequence[Reply],
    waiting_for: str = "",
    earlier: Sequence[Turn] = (),
    looking_at: str = "",
) -> str:
    """The replies to a question about a picture, side by side, and which model is still asked.

    Args:
        earlier: what was asked before about the same picture, the latest last.
        looking_at: the model of which it is still computed where it looked.
    """
    return fill(
        __file__,
        "replies.html",
        thumbnail=_source(picture, THUMBNAIL),
        question=question,
        replies=replies,
        waiting_for=waiting_for,
        looking_at=looking_at,
        earlier=earlier,
        headline=headline,
        share=share,
        ranked=_ranked,
        guesses=_guesses,
        reasons=wording.REASONS,
        sureness=wording.sureness,
        heat_map=lambda look: _source(look.picture, HEAT_MAP),
    )


def headline(reply: Reply) -> str:
    """What stands in large letters: the answer, or that there is none to rely on."""
    assert reply.answer is not None
    if reply.refusal:
        return "I don't know"
    retake = reply.quality is not None and reply.quality.retake
    if retake or wording.sureness(reply.answer.score) == wording.NOT_SURE:
        return "Not sure"
    return reply.answer.text


def nothing_yet(examples: bool) -> str:
    """What stands where the answers will stand, with and without examples below."""
    return fill(__file__, "note.html", text=NOTHING_YET + AT_ONCE * examples)


def problem(text: str) -> str:
    """A sentence about what went wrong."""
    return fill(__file__, "problem.html", text=text)


def saved(file: Path, rows: int) -> str:
    """That a right answer was kept, and how to learn from the table."""
    train = f"vqazoo train --data table --set data.args.train={file} ..."
    return fill(__file__, "saved.html", file=file, rows=rows, train=train)


def _ranked(answer: Answer) -> list[Answer]:
    """The model's own answers, best first; one that was held back is the first of the others."""
    return [*([] if answer.abstained else [answer]), *answer.alternatives]


def _guesses(answer: Answer) -> list[Answer]:
    """The ranked answers that say something of the picture, and not by mere chance."""
    ranked = _ranked(answer)
    return [o for o in ranked if o.text not in REFUSALS and o.score >= WORTH_SAYING]


def _source(picture: Image.Image, longest: int) -> str:
    """A picture as a data address, so that no file of it is kept."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
