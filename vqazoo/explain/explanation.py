"""Explaining one answer: which parts of the picture and which words it came from. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqazoo.data import check_question
from vqazoo.data.answers import normalise
from vqazoo.data.asking import pair
from vqazoo.errors import ConfigError, ImageError, IncompatibleError
from vqazoo.explain.gradients import MOST_STEPS, pixel_gradients, word_gradients
from vqazoo.explain.maps import Map, onto_picture, pixel_map, token_map
from vqazoo.explain.words import word_places
from vqazoo.interfaces import Answer, AttendsToImage, floating_dtype
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels, placement
from vqazoo.media.video import Video, is_video
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating

AUTO, ATTENTION, GRADIENTS = "auto", "attention", "integrated-gradients"
METHODS = (AUTO, ATTENTION, GRADIENTS)


@dataclass(frozen=True)
class Explanation:
    """Where a model looked, and which words it heeded.

    Attributes:
        answer: what is explained.
        method: of the map: `attention` or `integrated-gradients`. Words always have the latter.
        image: (H, W) float32 in 0..1, over the whole picture as it was given, upright.
        words: the question's words, split at blanks, with weights in 0..1.
        words_weighed: False: the text encoder lends no word embeddings, as `ngrams` does not, whose
            marks of words have no gradient; all weights of words are 0 then.
    """

    answer: Answer
    method: str
    image: Map
    words: tuple[tuple[str, float], ...]
    words_weighed: bool = True


def explain(
    model: VQAModel,
    image: Any,
    question: str,
    method: str = AUTO,
    answer: Answer | None = None,
    most_steps: int = MOST_STEPS,
) -> Explanation:
    """Explain the answer to one question about one picture.

    Args:
        image: path, PIL image, array (H, W, 3) or tensor (3, H, W).
        method: `attention`: the weights with which the model's fusion reads the image tokens;
            `integrated-gradients`: what each pixel adds to the answer's score (gradients.py);
            `auto`: attention where the fusion offers it.
        answer: what to explain; None: the model's best answer.
        most_steps: of integrated gradients over the picture, 32 or more: their number is doubled
            until they add up to the answer's score. Fewer are faster and less exact.

    Raises:
        ConfigError: an unknown method, a model without attention was asked for it, or the answer is
            none that the model can give.
        ImageError: a video, or a picture that cannot be used. QuestionError: the question.
        IncompatibleError: the text encoder does not read through the word embeddings it lends.
    """
    if method not in METHODS:
        raise ConfigError(f"The method is {method!r}, but it must be one of {', '.join(METHODS)}.")
    if isinstance(image, Video) or is_video(image):
        raise ImageError("Only answers about pictures are explained, not videos: give one frame.")
    if not pair(image, question).single:
        raise ConfigError("One answer is explained at a time: give one image and one question.")
    picture = open_image(image)
    answer = model.answer(picture, question) if answer is None else answer
    preprocess = model.image_encoder.spec.preprocess
    seen, place = pixels(picture, preprocess), placement(picture.size, preprocess)
    seen = seen.to(floating_dtype(model.image_encoder))
    asked = check_question(question)
    target = _target(model, answer.text)
    with evaluating(model):
        weights = None if method == GRADIENTS else _attention(model, seen, asked)
        if weights is None and method == ATTENTION:
            raise ConfigError(
                f"The fusion '{model.config.fusion.type}' of this model offers no attention over "
                f"the picture: choose the method {GRADIENTS}."
            )
        used = GRADIENTS if weights is None else ATTENTION
        if weights is None:
            weights = pixel_map(pixel_gradients(model, seen, asked, target, most_steps).values)
        weighed = _lends_words(model)
        words = (
            _words(model, seen, asked, target)
            if weighed
            else tuple((word, 0.0) for word, _ in word_places(model.text_encoder, asked))
        )
    return Explanation(answer, used, onto_picture(weights, place, picture.size), words, weighed)


def _lends_words(model: VQAModel) -> bool:
    try:
        model.text_encoder.lend("token_embedding")
    except IncompatibleError:
        return False
    return True


def _target(model: VQAModel, answer: str) -> str:
    """The answer as the head learns it: classifiers know answers by their normalised texts."""
    if model.head_manifest.answer_mode != "classify":
        return answer
    if normalise(answer) not in {normalise(text) for text in model.answers.texts}:
        raise ConfigError(
            f"The answer {answer[:60]!r} cannot be explained, since it is none of the "
            f"{len(model.answers):,} that this model chooses from: give one of those."
        )
    return normalise(answer)


def _attention(model: VQAModel, pixels: Tensor, question: str) -> Tensor | None:
    """The fusion's attention as a map (H, W) over pixels (3, H, W); None if it offers none."""
    if not isinstance(model.fusion, AttendsToImage):
        return None
    with torch.no_grad():
        image = model.encode_image(pixels[None])
        weights = model.fusion.attention(image, model.encode_text([question]))[0]  # (N,)
    height, width = pixels.shape[1:]
    return token_map(weights[image.num_prefix :].float().cpu(), (width, height))


def _words(
    model: VQAModel, pixels: Tensor, question: str, answer: str
) -> tuple[tuple[str, float], ...]:
    """Each word with the size of what its pieces add to the answer's score, the largest being 1."""
    places = word_places(model.text_encoder, question)
    moved = [place for _, pieces in places for place in pieces]
    values = word_gradients(model, pixels, question, answer, moved).values.sum(dim=1)  # (L,)
    weighted_words = [(word, abs(float(values[list(pieces)].sum()))) for word, pieces in places]
    largest = max((weight for _, weight in weighted_words), default=0.0)
    return tuple((word, weight / largest if largest else 0.0) for word, weight in weighted_words)
