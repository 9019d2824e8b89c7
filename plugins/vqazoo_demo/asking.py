"""The models of the page and what they reply. Imports torch and Pillow when a model is asked."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vqazoo.catalogue import PACKAGED, entries
from vqazoo.cli.terminal import printable
from vqazoo.errors import ConfigError, VqazooError
from vqazoo.wording import refusal
from vqazoo.zoo.models import whole_reference
from vqazoo_demo.naming import data_of, judges_pictures, short_names

if TYPE_CHECKING:
    from PIL import Image

    from vqazoo.interfaces import Answer
    from vqazoo.media.pixels import Placement
    from vqazoo.model import VQAModel
    from vqazoo.quality import Quality

FIRST = "tiny-clip-lstm-easyvqa"  # what a newcomer meets
STEPS = 32  # of a heat map: somebody waits, and more move nothing that can be seen
PUNCTUATION = " ?!.,;:"
NO_QUALITY = "none"  # in place of the name of a model that judges pictures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """Where a model looked.

    Attributes:
        picture: the heat map over the picture, of its size.
        place: where the heat is, such as `at the top left`.
        words: those of the question that counted most, first the one that counted most.
        unseen: the edges that the model never sees, such as `left and right`; empty: it sees all.
    """

    picture: Image.Image
    place: str
    words: tuple[str, ...]
    unseen: str = ""


@dataclass(frozen=True)
class Reply:
    """What one model says: an answer and where it looked, or in one sentence why it has none.

    Attributes:
        problem: why there is no answer.
        no_look: why nothing is shown of where it looked, though it was asked for.
        quality: of the picture, where it was judged.
    """

    model: str
    answer: Answer | None = None
    problem: str = ""
    look: Look | None = None
    no_look: str = ""
    quality: Quality | None = None

    @property
    def refusal(self) -> str:
        """Why the model does not answer, see `vqazoo.wording.refusal`; empty: it does."""
        return "" if self.answer is None else refusal(self.answer)

    @property
    def advice(self) -> str:
        """What to do about the picture; empty: nothing."""
        return "" if self.quality is None else self.quality.advice


class Models:
    """The models that can be chosen, each loaded when it is first asked, then kept.

    Any thread may ask. A model answers one after the other, others meanwhile theirs; loading goes
    one by one, since the libraries change settings of the whole process while they do.
    """

    def __init__(
        self,
        chosen: Sequence[str],
        device: str = "cpu",
        quality: str = "",
        abstain_at_risk: float | None = None,
    ) -> None:
        """`chosen` come first; the packaged ones follow.

        Args:
            quality: the model that judges every picture; NO_QUALITY: none does; empty: for models
                whose data the catalogue names, the packaged one of the same data, since what it
                says of other pictures was never measured.
            abstain_at_risk: as for `VQAModel.answer`.

        Raises:
            ConfigError: that model does not judge pictures, or one that does is to answer.
        """
        known = entries()
        chosen = [whole_reference(name) for name in chosen]
        packaged = [name for name, entry in known.items() if entry.weights == PACKAGED]
        packaged.sort(key=lambda name: (name != FIRST, name))
        judges = [name for name in packaged if judges_pictures(known[name])]
        asked = [name for name in chosen if name in judges]
        if asked:
            raise ConfigError(
                f"The model '{asked[0]}' answers no questions, it judges pictures: name it with "
                f"--quality."
            )
        self.names = list(dict.fromkeys([*chosen, *(n for n in packaged if n not in judges)]))
        self.chosen = list(chosen) or self.names[:1]
        self.labels = short_names(self.names)
        self.data = {name: data_of(name, known.get(name)) for name in self.names}
        self.device = device
        self.abstain_at_risk = abstain_at_risk
        self._judge_of = {known[name].data: name for name in judges} if not quality else {}
        self._judge = "" if quality == NO_QUALITY else quality
        self._loaded: dict[str, VQAModel] = {}
        self._loading = threading.Lock()
        lines = [*self.names, *judges, *([self._judge] if self._judge else [])]
        self._turns = {name: threading.Lock() for name in lines}
        if self._judge and not self.load(self._judge).head_manifest.flaws:
            raise ConfigError(
                f"The model '{quality}' answers questions, but --quality names one that judges "
                f"pictures: {', '.join(judges)}, or {NO_QUALITY}."
            )

    def load(self, name: str) -> VQAModel:
        """Raises VqazooError: it cannot be loaded, or needs more than picture and question."""
        import vqazoo

        if name not in self._loaded:
            with self._loading:
                if name not in self._loaded:
                    model = vqazoo.load(name, self.device)
                    if model.head_manifest.reads_ocr:
                        raise ConfigError(
                            f"The model '{name}' copies words that a reader of text found in a "
                            f"picture, but this page asks with a picture and a question alone: "
                            f"answer with  vqazoo ask --ocr-tokens  or  vqazoo predict, or name "
                            f"another model."
                        )
                    self._loaded[name] = model
        return self._loaded[name]

    def ask(
        self, name: str, picture: Image.Image, question: str, top_k: int, show_look: bool
    ) -> Reply:
        """What a model says; never raises, since the others should still be heard."""
        with self._turns[name]:
            reply = self._ask(name, picture, question, top_k)
        if reply.answer is None:
            return reply
        reply = replace(reply, quality=self._judged(name, picture))
        return self.looked(name, reply, picture, question) if show_look else reply

    def looked(self, name: str, reply: Reply, picture: Image.Image, question: str) -> Reply:
        """A reply with where the model looked, which may take a minute; one without an answer as
        it is. Never raises, either."""
        if reply.answer is None:
            return reply
        with self._turns[name]:
            try:
                return replace(reply, look=_look(self.load(name), picture, question))
            except Exception as error:  # the page tells it, and the terminal in full
                reason = sentence(error, f"Showing where {reply.model} looked")
                return replace(reply, no_look=reason)

    def _ask(self, name: str, picture: Image.Image, question: str, top_k: int) -> Reply:
        label = self.labels[name]
        try:
            model = self.load(name)
            answer = model.answer(picture, question, top_k, abstain_at_risk=self.abstain_at_risk)
        except Exception as error:  # the page tells it, and the terminal in full
            return Reply(label, problem=sentence(error, f"The model {label}"))
        return Reply(label, answer)

    def _judged(self, name: str, picture: Image.Image) -> Quality | None:
        """The quality of the picture, for a model that answers about it; None: nobody judges it."""
        judge = self._judge or self._judge_of.get(self.data[name], "")
        if not judge:
            return None
        with self._turns[judge]:
            try:
                judged = self.load(judge).quality(picture)
            except Exception as error:  # the answer is told all the same
                logger.warning(printable(sentence(error, f"Judging the picture by {judge}")))
                return None
        return judged if not isinstance(judged, list) else judged[0]


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
    from vqazoo.media.pixels import placement

    explanation = explain.explain(model, picture, question, most_steps=STEPS)
    strongest = sorted(explanation.words, key=lambda word: -word[1])
    words = tuple(word.strip(PUNCTUATION) for word, weight in strongest[:2] if weight > 0)
    shown = explain.overlay(explanation, picture)
    placed = placement(picture.size, model.image_encoder.spec.preprocess)
    return Look(_framed(shown, placed), place(explanation.image), words, unseen(placed))


def unseen(placed: Placement) -> str:
    """The edges of a picture that are cropped off before a model sees it, in words."""
    sides = [*(["left and right"] if placed.width > placed.frame[0] else [])]
    sides += ["top and bottom"] if placed.height > placed.frame[1] else []
    return ", ".join(sides)


def _framed(shown: Image.Image, placed: Placement) -> Image.Image:
    """The picture with what is cropped off faded, and a line around the rest."""
    from PIL import Image, ImageDraw

    if not unseen(placed):
        return shown
    across, down = shown.width / placed.width, shown.height / placed.height
    left, top = max(0, -placed.left), max(0, -placed.top)
    right = min(placed.width, left + placed.frame[0])
    bottom = min(placed.height, top + placed.frame[1])
    box = round(left * across), round(top * down), round(right * across), round(bottom * down)
    faded = Image.blend(shown, Image.new("RGB", shown.size, "white"), 0.7)
    faded.paste(shown.crop(box), box[:2])
    width = max(1, round(max(shown.size) / 160))
    ImageDraw.Draw(faded).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), None, "black", width)
    return faded


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
