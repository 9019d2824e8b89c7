"""The `decision` pipeline of transformers, over vqazoo's models. Imports torch and Pillow.

Source: transformers 5.24, pipelines/decision.py; requests and answers are those of
`vqazoo.systemone`.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vqazoo.amounts import in_bytes
from vqazoo.choosing.scoring import UNSCORED_WAY, scoring_of
from vqazoo.decisions import MOST_QUESTIONS, Decision
from vqazoo.errors import ConfigError, ImageError
from vqazoo.model import VQAModel
from vqazoo.phrasing import Words
from vqazoo.systemone import Posed, pose

DECISION = "decision"
DATA_URL = "data:image/"

Answers = dict[str, dict[str, Any]]  # by the names of the questions


class DecisionPipeline:
    """Answers typed questions about pictures; make one with `vqazoo.pipeline("decision")`.

    Attributes:
        model: the model of vqazoo.
        task: `decision`.
    """

    task = DECISION

    def __init__(self, model: VQAModel, **options: Any) -> None:
        """Raises ConfigError: an option is given, or the head does not choose."""
        if options:
            raise ConfigError(
                f"The option {next(iter(options))!r} is not known for the task '{DECISION}': leave "
                f"it out; temperatures are those of the model's own calibration."
            )
        self.model = model
        scoring = scoring_of(model, UNSCORED_WAY)
        self._words = Words(scoring.knows, scoring.yes_and_no)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(
        self,
        inputs: Any,
        questions: Mapping[str, Any] | None = None,
        assets: Mapping[str, Any] | None = None,
    ) -> Answers | list[Answers]:
        """Answer a request, or a list of them.

        Args:
            inputs: `{"state": ..., "questions": {name: {"type": ..., "instructions": ...,
                "criteria": ...}}, "assets": {placeholder: picture}}`, its JSON, or a list of these;
                with `questions` a state, or a list of states. A state may itself be or hold a PIL
                image or a `pathlib.Path` of one.
            questions: of every state.
            assets: pictures by placeholder: PIL image, path, base64 or `{"data_base64": ...}`.

        Returns:
            The answers by name, in the System One format; a list for a list.

        Raises:
            ConfigError: a request cannot be used, or a question not be decided; it is named.
            ImageError: a picture cannot be used.
        """
        several = isinstance(inputs, list)
        listed = inputs if several else [inputs]
        if questions is not None:
            listed = [{"state": state, "questions": questions} for state in listed]
        elif assets is not None and not all(isinstance(request, Mapping) for request in listed):
            raise ConfigError("Assets were given beside a text: give a dict, or questions as well.")
        if assets is not None:
            listed = [{**request, "assets": assets} for request in listed]
        answers = [self._answered(request) for request in listed]
        return answers if several else answers[0]

    def _answered(self, request: Any) -> Answers:
        posed = pose(request, self._words)
        decisions = self._decisions(posed)
        return {
            each.question.name: each.answer(decision)
            for each, decision in zip(posed, decisions, strict=True)
        }

    def _decisions(self, posed: Sequence[Posed]) -> list[Decision | None]:
        """A decision for each; questions about one picture together."""
        decided: list[Decision | None] = [None] * len(posed)
        by_picture: dict[int, list[int]] = {}
        for place, each in enumerate(posed):
            if each.asked is not None:
                by_picture.setdefault(id(each.picture), []).append(place)
        for places in by_picture.values():
            picture = opened(posed[places[0]].picture)
            for start in range(0, len(places), MOST_QUESTIONS):
                part = places[start : start + MOST_QUESTIONS]
                asked = [question for n in part if (question := posed[n].asked) is not None]
                for place, decision in zip(part, self.model.decide(picture, asked), strict=True):
                    decided[place] = decision
        return decided


def opened(source: Any) -> Any:
    """A picture as `VQAModel.answer` takes it, of what assets hold.

    Raises:
        ImageError: it is an address, or no base64.
    """
    if isinstance(source, Mapping):
        if not isinstance(source.get("data_base64"), str):
            raise ImageError(
                f"The asset has {', '.join(map(repr, source)) or 'no fields'}, but the picture as "
                f"base64 was expected in 'data_base64'."
            )
        return _of_base64(source["data_base64"])
    if not isinstance(source, str):
        return source
    if source.startswith(("http://", "https://")):
        raise ImageError(
            f"The picture '{source[:80]}' is an address, and nothing is fetched: download it, and "
            f"give its path."
        )
    return _of_base64(source) if source.startswith(DATA_URL) or _is_base64(source) else source


def _is_base64(text: str) -> bool:
    """Whether it is no path; the shortest picture has more characters than this."""
    return len(text) > 60 and not Path(text[:4096]).suffix and _bytes(text) is not None


def _of_base64(text: str) -> Image.Image:
    content = _bytes(text.partition(",")[2] if text.startswith("data:") else text)
    if content is None:
        raise ImageError("The asset is not base64: encode the content of an image file.")
    try:
        return Image.open(io.BytesIO(content))
    except (OSError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"The {in_bytes(len(content))} of the asset are no picture that is read "
            f"({type(error).__name__}): encode the content of a PNG or JPEG file."
        ) from error


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
