"""Integrated gradients of an answer's score, over pixels or over words. Imports torch.

Source: Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from vqazoo.data import Example
from vqazoo.errors import ConfigError, IncompatibleError, VqazooError
from vqazoo.explain.embedded import Embedded
from vqazoo.interfaces import Features
from vqazoo.model import VQAModel

FEWEST_STEPS, MOST_STEPS = 32, 128
CLOSE = 0.05  # of the score difference: where attributions miss more, the steps are doubled
POINTS = 8  # of the line computed at once

MeanScore = Callable[[Tensor], Tensor]  # S points of the line, (S, ...) -> the mean of their scores


@dataclass(frozen=True)
class Attribution:
    """What each input value adds to an answer's score.

    Attributes:
        values: as the input, (3, H, W) pixels or (L, E) embeddings, float32 on the CPU.
        score, baseline: the answer's score at the input and at the baseline. By the completeness
            axiom the values sum to their difference, but for the error of the sum over steps.
        steps: points of the line that were computed.
    """

    values: Tensor
    score: float
    baseline: float
    steps: int

    @property
    def gap(self) -> float:
        """What the values miss of the difference of the scores."""
        return float(self.values.sum()) - (self.score - self.baseline)


def pixel_gradients(
    model: VQAModel, pixels: Tensor, question: str, answer: str, most_steps: int = MOST_STEPS
) -> Attribution:
    """Attributions (3, H, W) of the pixels, the question being as it is.

    The baseline is a picture that has the mean colour of this one everywhere.

    Args:
        pixels: (3, H, W) float, as `VQAModel.transform` makes them.
        most_steps: points of the line at which doubling ends.
    """
    pixels = pixels.to(model.device)
    with torch.no_grad():
        asked = _text(model, question)

    def score(points: Tensor) -> Tensor:
        """Pixels (S, 3, H, W)."""
        return _score(model, _image(model, points), asked, question, answer, len(points))

    start = pixels.mean(dim=(1, 2), keepdim=True).expand_as(pixels)
    return _integrated(score, start, pixels, most_steps)


def word_gradients(
    model: VQAModel, pixels: Tensor, question: str, answer: str, places: Sequence[int]
) -> Attribution:
    """Attributions (L, E) of the question's token embeddings, the picture being as it is.

    The baseline has the mean of all word embeddings at the places of word pieces; a zero vector is
    none that text towers with a norm behind their embeddings can come near to. Other tokens stay.

    Args:
        pixels: (3, H, W) float; places: of the word pieces among the L tokens.

    Raises:
        IncompatibleError: the text encoder lends no token_embedding, or does not read through it.
    """
    embedding = cast(nn.Embedding, model.text_encoder.lend("token_embedding"))
    real: list[Tensor] = []

    def note(embeddings: Tensor) -> Tensor:
        real.append(embeddings[0])  # (L, E)
        return embeddings

    with torch.no_grad():
        image = _image(model, pixels[None].to(model.device))
        with Embedded(embedding, note):
            _text(model, question)
    if not real:
        raise IncompatibleError(
            f"The text encoder '{model.config.text_encoder.type}' does not read questions through "
            f"the token_embedding that it lends, so its words cannot be explained: mend lend()."
        )
    end = real[0]  # (L, E)
    start = end.clone()
    start[list(places)] = embedding.weight.detach().mean(dim=0).to(end)

    def score(points: Tensor) -> Tensor:
        """Embeddings (S, L, E)."""
        with Embedded(embedding, lambda embeddings: points):
            asked = _text(model, question, len(points))
        return _score(model, image, asked, question, answer, len(points))

    return _integrated(score, start, end)


def _integrated(
    score: MeanScore, start: Tensor, end: Tensor, most_steps: int = MOST_STEPS
) -> Attribution:
    """Integrated gradients from start to end, by Gauss-Legendre sums of ever more steps."""
    with torch.no_grad():
        baseline, reached = (float(score(point[None].clone())) for point in (start, end))
    steps = FEWEST_STEPS
    while True:
        values = _integral(score, start, end - start, steps).float().cpu()
        attribution = Attribution(values, reached, baseline, steps)
        if abs(attribution.gap) <= CLOSE * abs(reached - baseline) or steps >= most_steps:
            return attribution
        steps *= 2


def _integral(score: MeanScore, start: Tensor, change: Tensor, steps: int) -> Tensor:
    """The gradients' integral along the line, times the change."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # over [-1, 1]
    total = torch.zeros_like(change)
    for some, shares in zip(
        torch.from_numpy((nodes + 1) / 2).to(change).split(POINTS),
        torch.from_numpy(weights / 2).to(change).split(POINTS),
        strict=True,
    ):  # (S,) each
        points = start + some.view(-1, *[1] * start.dim()) * change  # (S, ...)
        points.requires_grad_()
        with torch.enable_grad():  # no row depends on another, so these are S gradients
            summed = score(points.clone()) * len(points)  # a copy: parts may write into it
            (gradients,) = torch.autograd.grad(
                summed, points, allow_unused=True, materialize_grads=True
            )  # (S, ...)
        total += torch.tensordot(shares, gradients, dims=1)
    return total * change


def _score(
    model: VQAModel, image: Features, asked: Features, question: str, answer: str, count: int
) -> Tensor:
    """Minus the loss with which the head would learn this answer, the mean of `count` rows.

    One of the two has one row, which all rows share.
    """
    rows = torch.zeros(count, dtype=torch.long, device=model.device)
    image = image if len(image) == count else image.index(rows)
    asked = asked if len(asked) == count else asked.index(rows)
    example = Example(Path(), question, (answer,), "", targets=((answer, 1.0),))
    try:
        targets = model.head.targets([example] * count)
    except VqazooError as error:  # such as an answer that was cut off, whose end has no place
        raise ConfigError(
            f"The answer cannot be explained, as it cannot be learnt: {error}"
        ) from error
    targets = {name: tensor.to(model.device) for name, tensor in targets.items()}
    loss, _ = model.head.loss(model.fusion(image, asked), targets)
    return -loss


def _image(model: VQAModel, pixels: Tensor) -> Features:
    """Image features of (S, 3, H, W); `VQAModel.encode_image` stops gradients at frozen towers."""
    return model.image_encoder.encode_image(pixels, model.wants_image)


def _text(model: VQAModel, question: str, count: int = 1) -> Features:
    ids, mask = model.text_encoder.tokenize([question] * count)  # (S, L) each
    return model.text_encoder.encode_text(
        ids.to(model.device), mask.to(model.device), model.wants_text
    )
