"""Replies as HTML and as a sentence to be read out. Imports Pillow."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from vqazoo.interfaces import Answer
from vqazoo_demo.asking import REFUSALS, Reply

NOT_ENOUGH = "This photo does not show enough to answer."
NOTHING_YET = '<p class="note">The answers will stand here. An example asks at once.</p>'
HEAT_MAP, THUMBNAIL = 640, 96  # pixels of the longer side


def share(score: float) -> str:
    """A probability in words that promise neither certainty nor impossibility."""
    if score > 0.99:
        return "over 99%"
    return "under 1%" if score < 0.01 else f"{score:.0%}"


def spoken(reply: Reply) -> str:
    """A reply as a sentence, for the status line that screen readers announce."""
    if reply.answer is None:
        return f"{reply.model} has no answer. {reply.problem}"
    if reply.refuses:
        return f"{reply.model} says: {NOT_ENOUGH}"
    return f"{reply.model} says: {reply.answer.text}. It is {share(reply.answer.score)} sure."


def page(
    picture: Image.Image, question: str, replies: Sequence[Reply], waiting_for: str = ""
) -> str:
    """The replies to a question about a picture, side by side, and which model is still asked."""
    sections = "".join(_section(reply, number) for number, reply in enumerate(replies))
    waiting = f'<p class="note">Asking {escape(waiting_for)}…</p>' if waiting_for else ""
    asked = (
        f'<p class="asked"><img src="{_source(picture, THUMBNAIL)}" alt="The picture asked about.">'
        f"<span>“{escape(question)}”</span></p>"
    )
    return f'{asked}<div class="replies">{sections}</div>{waiting}'


def problem(text: str) -> str:
    """A sentence about what went wrong."""
    return f'<p class="problem">{escape(text)}</p>'


def saved(file: Path, rows: int) -> str:
    """That a right answer was kept, and how to learn from the table."""
    train = f"vqazoo train --data table --set data.args.train={file} ..."
    return (
        f"<p>Saved: {escape(file.name)} has {rows} {'row' if rows == 1 else 'rows'} now. To train "
        f"on it: <code>{escape(train)}</code></p>"
    )


def _section(reply: Reply, number: int) -> str:
    if reply.answer is None:
        body = problem(reply.problem)
    else:
        body = _headline(reply, reply.answer) + _bars(reply.answer) + _looked(reply)
    name = f"reply-{number}"
    return (
        f'<section class="reply" aria-labelledby="{name}">'
        f'<h3 id="{name}">{escape(reply.model)}</h3>{body}</section>'
    )


def _headline(reply: Reply, answer: Answer) -> str:
    if not reply.refuses:
        enough = "" if answer.answerable is None else _enough(answer.answerable)
        return (
            f'<p class="best">{escape(answer.text)}</p>'
            f'<p class="sure">{share(answer.score)} sure{enough}</p>'
        )
    guesses = [one for one in (answer, *answer.alternatives) if one.text not in REFUSALS]
    guess = f"Its best guess would be “{escape(guesses[0].text)}”." if guesses else ""
    return f'<p class="best refusal">{NOT_ENOUGH}</p><p class="sure">{guess}</p>'


def _enough(chance: float) -> str:
    return f"; {share(chance)} sure that the photo shows enough to answer"


def _bars(answer: Answer) -> str:
    """The ranked answers; a bar repeats the number, so only the number is read out."""
    rows = "".join(
        f'<li><span class="text">{escape(one.text)}</span>'
        f'<span class="bar" aria-hidden="true"><span style="width:{100 * one.score:.1f}%"></span>'
        f'</span><span class="share">{share(one.score)}</span></li>'
        for one in (answer, *answer.alternatives)
    )
    return f'<h4>Ranked answers</h4><ol class="bars">{rows}</ol>'


def _looked(reply: Reply) -> str:
    if reply.look is None:
        return f'<p class="note">{escape(reply.no_look)}</p>' if reply.no_look else ""
    place = reply.look.place
    words = " and ".join(f"“{escape(word)}”" for word in reply.look.words)
    counted = f" In the question, {words} counted most." if words else ""
    return (
        f'<figure><img src="{_source(reply.look.picture, HEAT_MAP)}" '
        f'alt="The picture with a heat map over it, strongest {place}.">'
        f"<figcaption>It looked most {place}.{counted}</figcaption></figure>"
    )


def _source(picture: Image.Image, longest: int) -> str:
    """A picture as a data address, so that no file of it is kept."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
