"""`explain`: shapes, methods, refusals, published layouts; and whether maps fall on shapes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vqazoo
from tests.plugins.blip.tiny import blip
from tests.plugins.blip2.published import published as blip2
from tests.plugins.git.tiny import git
from tests.plugins.vilt.tiny import vilt
from vqazoo.errors import ConfigError, ImageError, IncompatibleError, QuestionError
from vqazoo.explain import explain
from vqazoo.explain.words import word_places
from vqazoo.interfaces import Answer, AttendsToImage
from vqazoo.model import VQAModel
from vqazoo_tiny_clip.render import Scene, draw_scene, draw_shape

QUESTION = "what color is the shape?"


@pytest.fixture(scope="module")
def writer() -> VQAModel:
    return vqazoo.load("tiny-clip-lstm-easyvqa")


@pytest.fixture(scope="module")
def attentive() -> VQAModel:
    return vqazoo.load("tiny-clip-mlp-sortofclevr")


def test_the_picture_is_explained_where_the_text_encoder_lends_no_words(
    writer: VQAModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lends_none(self: object, name: str) -> torch.nn.Module:
        raise IncompatibleError(f"It lends no '{name}'.")

    picture = draw_scene(random.Random(0)).paint()
    usual = explain(writer, picture, QUESTION)
    monkeypatch.setattr(type(writer.text_encoder), "lend", lends_none)
    found = explain(writer, picture, QUESTION)
    assert (usual.words_weighed, found.words_weighed) == (True, False)
    assert found.words == tuple((word, 0.0) for word in QUESTION.split())
    assert np.array_equal(found.image, usual.image)


def test_the_map_has_the_size_of_the_picture_and_the_words_those_of_the_question(
    writer: VQAModel,
) -> None:
    picture = draw_scene(random.Random(0)).paint().resize((90, 50))
    found = explain(writer, picture, f"  {QUESTION} ")
    assert found.method == "integrated-gradients"
    assert found.image.shape == (50, 90)
    assert found.image.dtype == np.float32
    assert found.image.min() >= 0
    assert found.image.max() == 1
    assert [word for word, _ in found.words] == QUESTION.split()
    assert max(weight for _, weight in found.words) == 1
    assert min(weight for _, weight in found.words) >= 0
    assert found.answer.text == writer.answer(picture, QUESTION).text


def test_the_map_falls_on_the_shape(writer: VQAModel) -> None:
    """Of five pictures; tests/benchmarks/explaining.py measures a hundred."""
    rng = random.Random(1)
    for _ in range(5):
        shape = draw_shape(rng, "rectangle", 10.0)
        found = explain(writer, Scene((240, 240, 240), (shape,)).paint(), QUESTION).image
        lines, columns = np.mgrid[:64, :64]
        inside = (abs(columns - shape.x) <= shape.half_width + 1) & (
            abs(lines - shape.y) <= shape.half_height + 1
        )
        assert found[inside].sum() / found.sum() > 5 * inside.mean()


def test_an_answer_that_was_chosen_otherwise_is_explained_as_it_is(writer: VQAModel) -> None:
    picture = draw_scene(random.Random(0)).paint()
    found = explain(writer, picture, QUESTION, answer=Answer("circle", 0.25))
    assert found.answer == Answer("circle", 0.25)


def test_an_answer_that_a_classifier_does_not_know_is_refused(attentive: VQAModel) -> None:
    with pytest.raises(ConfigError, match="'zebra' cannot be explained, since it is none of the"):
        explain(
            attentive, draw_scene(random.Random(0)).paint(), QUESTION, answer=Answer("zebra", 1)
        )


def test_attention_is_taken_where_the_fusion_offers_it(attentive: VQAModel) -> None:
    picture = draw_scene(random.Random(0)).paint()
    found = explain(attentive, picture, QUESTION)
    assert found.method == "attention"
    assert found.image.shape == (64, 64)
    chosen = explain(attentive, picture, QUESTION, "integrated-gradients")
    assert chosen.method == "integrated-gradients"
    assert chosen.words == found.words


@pytest.mark.parametrize("name", ["tiny-clip-mlp-sortofclevr", "tiny-clip-linear-flawedshapes"])
def test_attention_weights_are_a_distribution_over_real_tokens(name: str) -> None:
    model = vqazoo.load(name).eval()
    assert isinstance(model.fusion, AttendsToImage)
    with torch.no_grad():
        image = model.encode_image(torch.randn(2, 3, *model.image_encoder.spec.preprocess.size))
        mask = image.mask.clone()
        mask[:, -3:] = False
        masked = vqazoo.Features(image.pooled, image.tokens, mask)
        question = model.encode_text([QUESTION, "how many?"])
        weights = model.fusion.attention(masked, question)
        alone = model.fusion.attention(masked.index(slice(1, 2)), model.encode_text(["how many?"]))
    assert weights.shape == mask.shape
    assert torch.allclose(weights.sum(dim=1), torch.ones(2), atol=1e-5)
    assert (weights[:, -3:] == 0).all()
    assert torch.allclose(weights[1:], alone, atol=1e-5), "padding of the question counted"


def test_the_model_comes_back_in_the_mode_it_was_in(writer: VQAModel) -> None:
    writer.train()
    try:
        explain(writer, draw_scene(random.Random(0)).paint(), QUESTION)
        assert writer.training
        assert not writer.image_encoder.training, "frozen towers stay in eval mode"
    finally:
        writer.eval()


def test_attention_that_is_not_there_is_refused(writer: VQAModel) -> None:
    with pytest.raises(ConfigError, match=r"fusion 'concat' .* choose the method integrated"):
        explain(writer, draw_scene(random.Random(0)).paint(), QUESTION, "attention")


def test_an_unknown_method_is_refused(writer: VQAModel) -> None:
    with pytest.raises(ConfigError, match="'saliency', but it must be one of auto, attention"):
        explain(writer, "photo.png", QUESTION, "saliency")


def test_videos_and_lists_are_refused(writer: VQAModel, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"none")
    with pytest.raises(ImageError, match="not videos: give one frame"):
        explain(writer, tmp_path / "clip.mp4", QUESTION)
    picture = draw_scene(random.Random(0)).paint()
    with pytest.raises(ConfigError, match="one image and one question"):
        explain(writer, [picture, picture], QUESTION)
    with pytest.raises(QuestionError, match="empty"):
        explain(writer, picture, "  ")


def test_words_keep_their_pieces_together(writer: VQAModel) -> None:
    encoder = writer.text_encoder
    question = "is there an antidisestablishmentarian circle, please?"
    places = word_places(encoder, question)
    ids = encoder.tokenize([question])[0][0].tolist()
    assert [encoder.decode([ids[p] for p in some]) for _, some in places] == question.split()
    assert [p for _, some in places for p in some] == list(range(1, len(ids) - 1))


def test_words_that_are_cut_off_have_no_pieces(writer: VQAModel) -> None:
    longest = writer.text_encoder.spec.context_length
    assert longest is not None
    places = word_places(writer.text_encoder, "circle " * (longest + 5))
    assert len(places) == longest + 5
    assert len(places[-1][1]) == 0
    assert sum(len(some) for _, some in places) == longest - 2


@pytest.mark.parametrize(
    "make",
    [blip, lambda folder: blip2(folder, "opt"), lambda folder: blip2(folder, "t5"), git, vilt],
    ids=["blip", "blip2-opt", "blip2-t5", "git", "vilt"],
)
def test_published_layouts_are_explained(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path)
    model = vqazoo.load(f"dir:{tmp_path}")
    picture = draw_scene(random.Random(0)).paint().resize((80, 64))
    said = "Yes" if model.config.head.type == "vilt-classifier" else "red"
    found = explain(model, picture, "what color ?", answer=Answer(said, 0.5))
    assert found.image.shape == (64, 80)
    assert found.image.max() == 1, "no pixel counts"
    assert [word for word, _ in found.words] == ["what", "color", "?"]
    assert max(weight for _, weight in found.words) == 1, "no word counts"
