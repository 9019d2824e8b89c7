"""Integrated gradients: the axioms of Sundararajan et al. 2017, and what they leave alone."""

from __future__ import annotations

import math
import random
import threading

import pytest
import torch
from torch import Tensor

import vqazoo
from vqazoo.errors import IncompatibleError
from vqazoo.explain.embedded import Embedded
from vqazoo.explain.gradients import (
    CLOSE,
    MOST_STEPS,
    Attribution,
    _integrated,
    pixel_gradients,
    word_gradients,
)
from vqazoo.explain.words import word_places
from vqazoo.model import VQAModel
from vqazoo_tiny_clip.render import draw_scene

QUESTION = "what color is the shape?"


@pytest.fixture(scope="module", params=["tiny-clip-lstm-easyvqa", "tiny-clip-mlp-sortofclevr"])
def model(request: pytest.FixtureRequest) -> VQAModel:
    """One that writes, and a classifier with cross-attention; both frozen encoders."""
    return vqazoo.load(request.param).eval()


@pytest.fixture(scope="module")
def pixels(model: VQAModel) -> Tensor:
    return model.transform(draw_scene(random.Random(3)).paint())


def complete(found: Attribution) -> bool:
    return abs(found.gap) <= CLOSE * abs(found.score - found.baseline)


@pytest.mark.parametrize("power", [1, 3])
def test_attributions_of_a_sum_of_powers_are_those_of_the_formula(power: int) -> None:
    start, end = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.5, 1.0, 2.0])
    found = _integrated(lambda points: points.pow(power).sum(dim=1).mean(), start, end)
    assert torch.allclose(found.values, end.pow(power) - start.pow(power), atol=1e-5)
    assert found.steps == 32


def test_an_input_that_the_score_ignores_gets_nothing() -> None:
    start, end = torch.zeros(2), torch.ones(2)
    found = _integrated(lambda points: points[:, 0].exp().mean(), start, end)
    assert found.values[1] == 0
    assert found.values[0] == pytest.approx(math.e - 1, rel=1e-4)


def test_a_kink_is_met_with_more_steps() -> None:
    found = _integrated(
        lambda x: (1000 * (x[:, 0] - 0.98)).relu().mean(), torch.zeros(1), torch.ones(1)
    )
    assert found.steps > 32


def test_pixels_sum_to_the_change_of_the_score(model: VQAModel, pixels: Tensor) -> None:
    answer = model.answer(draw_scene(random.Random(3)).paint(), QUESTION).text
    found = pixel_gradients(model, pixels, QUESTION, answer)
    assert found.values.shape == pixels.shape
    assert complete(found) or found.steps == MOST_STEPS
    assert abs(found.gap) <= 0.1 * abs(found.score - found.baseline)
    assert found.score > found.baseline, "the model's own answer must gain from the picture"


def test_words_sum_to_the_change_of_the_score(model: VQAModel, pixels: Tensor) -> None:
    answer = model.answer(draw_scene(random.Random(3)).paint(), QUESTION).text
    places = [place for _, some in word_places(model.text_encoder, QUESTION) for place in some]
    found = word_gradients(model, pixels, QUESTION, answer, places)
    assert abs(found.gap) <= 0.1 * abs(found.score - found.baseline)
    other = [place for place in range(len(found.values)) if place not in places]
    assert (found.values[other] == 0).all(), "start and end stay, so nothing is theirs"


def test_the_score_is_the_log_probability_of_the_answer(model: VQAModel, pixels: Tensor) -> None:
    answer = model.answer(draw_scene(random.Random(3)).paint(), QUESTION, calibrated=False)
    found = pixel_gradients(model, pixels, QUESTION, answer.text)
    tokens = 1
    if model.config.head.type == "lstm":  # the mean over tokens, end included
        tokens = len(model.text_encoder.pieces([answer.text])[0]) + 1
    assert math.exp(tokens * found.score) == pytest.approx(answer.score, rel=1e-3)


def test_weights_get_no_gradient_and_stay_as_they_are(model: VQAModel, pixels: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    pixel_gradients(model, pixels, QUESTION, "red")
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert wanted == {name: p.requires_grad for name, p in model.named_parameters()}


def test_the_embeddings_carry_no_hook(model: VQAModel, pixels: Tensor) -> None:
    word_gradients(model, pixels, QUESTION, "red", [1])
    assert not model.text_encoder.lend("token_embedding")._forward_hooks


def test_an_encoder_that_does_not_read_through_what_it_lends_is_told(
    model: VQAModel, pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = torch.nn.Embedding(7, 3)
    monkeypatch.setattr(type(model.text_encoder), "lend", lambda self, name: other)
    with pytest.raises(IncompatibleError, match="'tiny-clip' does not read questions through"):
        word_gradients(model, pixels, QUESTION, "red", [1])


def test_other_threads_see_nothing_of_what_one_thread_looks_at(model: VQAModel) -> None:
    embedding = model.text_encoder.lend("token_embedding")
    ids = torch.tensor([[1, 2, 3]])
    plain = embedding(ids)
    found: list[Tensor] = []
    with Embedded(embedding, torch.zeros_like) as seen:
        thread = threading.Thread(target=lambda: found.append(embedding(ids)))
        thread.start()
        thread.join()
        assert not embedding(ids).any()
        assert torch.equal(
            torch.nn.Embedding.from_pretrained(plain[0])(ids[:, :1] * 0), plain[:, :1]
        )
    assert torch.equal(found[0], plain)
    assert torch.equal(embedding(ids), plain)
    assert seen.calls == 1
