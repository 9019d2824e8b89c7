"""The models of the page and what they reply. Imports torch and Pillow when a model is asked."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqazoo.catalogue import PACKAGED, entries
from vqazoo.cli.terminal import printable
from vqazoo.errors import VqazooError

if TYPE_CHECKING:
    from PIL import Image

    from vqazoo.interfaces import Answer
    from vqazoo.model import VQAModel

FIRST = "tiny-clip-lstm-easyvqa"  # what a newcomer meets
REFUSALS = ("unanswerable", "unsuitable", "unsuitable image")
PUNCTUATION = " ?!.,;:"
ENOUGH = 0.5  # `Answer.answerable` from which on a picture is said to show enough

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """Where a model looked.

    Attributes:
        picture: the heat map over the picture, of its size.
        place: where the heat is, such as `at the top left`.
        words: those of the question that counted most, first the one that counted most.
    """

    picture: Image.Image
    place: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Reply:
    """What one model says: an answer and where it looked, or in one sentence why it has none.

    Attributes:
        problem: why there is no answer.
        no_look: why nothing is shown of where it looked, though it was asked for.
    """

    model: str
    answer: Answer | None = None
    problem: str = ""
    look: Look | None = None
    no_look: str = ""

    @property
    def refuses(self) -> bool:
        """Whether the model says that the picture does not show enough."""
        if self.answer is None:
            return False
        chance = self.answer.answerable
        return self.answer.text in REFUSALS or (chance is not None and chance < ENOUGH)


class Models:
    """The models that can be chosen, each loaded when it is first asked, then kept.

    Any thread may ask. A model answers one after the other, others meanwhile theirs; loading goes
    one by one, since the libraries change settings of the whole process while they do.
    """

    def __init__(self, chosen: Sequence[str], device: str = "cpu") -> None:
        """`chosen` come first; the packaged ones follow."""
        known = entries()
        packaged = [name for name, entry in known.items() if entry.weights == PACKAGED]
        packaged.sort(key=lambda name: (name != FIRST, name))
        self.names = list(dict.fromkeys([*chosen, *packaged]))
        self.chosen = list(chosen) or packaged[:1]
        self.data = {name: known[name].data if name in known else "" for name in self.names}
        self.device = device
        self._loaded: dict[str, VQAModel] = {}
        self._loading = threading.Lock()
        self._turns = {name: threading.Lock() for name in self.names}

    def load(self, name: str) -> VQAModel:
        """Raises VqazooError: it cannot be loaded."""
        import vqazoo

        if name not in self._loaded:
            with self._loading:
                if name not in self._loaded:
                    self._loaded[name] = vqazoo.load(name, self.device)
        return self._loaded[name]

    def ask(
        self, name: str, picture: Image.Image, question: str, top_k: int, show_look: bool
    ) -> Reply:
        """What a model says; never raises, since the others should still be heard."""
        with self._turns[name]:
            return self._ask(name, picture, question, top_k, show_look)

    def _ask(
        self, name: str, picture: Image.Image, question: str, top_k: int, show_look: bool
    ) -> Reply:
        try:
            model = self.load(name)
            answer = model.answer(picture, question, top_k)
        except Exception as error:  # the page tells it, and the terminal in full
            return Reply(name, problem=sentence(error, f"The model {name}"))
        if not show_look:
            return Reply(name, answer)
        try:
            return Reply(name, answer, look=_look(model, picture, question))
        except Exception as error:  # the page tells it, and the terminal in full
            reason = sentence(error, f"Showing where {name} looked")
            return Reply(name, answer, no_look=reason)


def sentence(error: Exception, subject: str) -> str:
    """An error for the page; one that is not the user's goes to the terminal in full."""
    if isinstance(error, VqazooError):
        return str(error)
    trace = "".join(traceback.format_exception(error))  # which may quote a visitor
    logger.error("%s failed\n%s", subject, printable(trace, lines=True))
    return f"{subject} failed ({type(error).__name__}): the terminal says more."


def _look(model: VQAModel, picture: Image.Image, question: str) -> Look:
    """Where a model looked; raises VqazooError if its parts do not offer that."""
    from vqazoo import explain

    explanation = explain.explain(model, picture, question)
    strongest = sorted(explanation.words, key=lambda word: -word[1])
    words = tuple(word.strip(PUNCTUATION) for word, weight in strongest[:2] if weight > 0)
    return Look(explain.overlay(explanation, picture), place(explanation.image), words)


def place(heat: Any) -> str:
    """Which of nine parts of a picture has most of its heat (H, W), in words."""
    import numpy as np

    height, width = heat.shape
    rows, columns = 3 * np.arange(height) // height, 3 * np.arange(width) // width
    sums = np.zeros((3, 3))
    np.add.at(sums, (rows[:, None], columns[None, :]), heat)
    if not sums.any():
        return "nowhere in particular"
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    name = f"{('top', '', 'bottom')[row]} {('left', '', 'right')[column]}".strip()
    return f"at the {name}" if name else "in the middle"
