"""A model answers one question or many, about pictures of any form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from vqazoo.errors import (
    ConfigError,
    ImageError,
    IncompatibleError,
    QuestionError,
    UnknownNameError,
)
from vqazoo.model import pick_device

ANSWERS = ["red", "blue", "yes", "no", "a circle"]
QUESTIONS = ["what color is it?", "is it a circle?", "is there a very large blue shape here?"]


@pytest.fixture(scope="module", params=["mlp", "lstm", "gru", "linear"])
def model(request) -> vqazoo.VQAModel:
    torch.manual_seed(0)
    return vqazoo.create(encoder="tiny-clip", head=request.param, answers=ANSWERS)


def test_every_form_of_a_picture_gives_the_same_answer(model, picture):
    image = Image.open(picture).convert("RGB")
    array = np.asarray(image)
    forms = [
        picture,
        str(picture),
        image,
        array,
        array.astype(np.float32) / 255,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
    ]
    answers = {repr(model.answer(form, QUESTIONS[0])) for form in forms}
    assert len(answers) == 1


def test_many_questions_about_one_picture_equal_single_ones(model, picture):
    together = model.answer(picture, QUESTIONS, top_k=3)
    for answer, question in zip(together, QUESTIONS, strict=True):
        alone = model.answer(picture, question, top_k=3)
        assert answer.text == alone.text
        assert answer.score == pytest.approx(alone.score, rel=1e-4)
        assert [one.text for one in answer.alternatives] == [one.text for one in alone.alternatives]


def test_one_picture_of_several_questions_is_encoded_once(model, picture, monkeypatch):
    seen = []
    encode = model.image_encoder.encode_image
    monkeypatch.setattr(
        model.image_encoder, "encode_image", lambda p, w: seen.append(len(p)) or encode(p, w)
    )
    model.answer(picture, QUESTIONS)
    assert seen == [1]


def test_lists_and_batches_of_pictures_answer_in_order(model, table):
    files = [table.parent / f"{number}.png" for number in range(3)]
    single = [model.answer(f, q).text for f, q in zip(files, QUESTIONS, strict=True)]
    assert [answer.text for answer in model.answer(files, QUESTIONS)] == single
    batch = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    assert [answer.text for answer in model.answer(batch, QUESTIONS)] == single
    assert len(model.answer(files, QUESTIONS[0])) == 3


def test_top_k_gives_ranked_distinct_alternatives(model, picture):
    answer = model.answer(picture, QUESTIONS[0], top_k=3)
    ranked = [answer, *answer.alternatives]
    assert 1 < len(ranked) <= 3
    assert len({one.text for one in ranked}) == len(ranked)
    scores = [one.score for one in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_an_answer_prints_as_its_text(model, picture):
    answer = model.answer(picture, QUESTIONS[0])
    assert str(answer) == answer.text
    assert answer.alternatives == ()


def test_a_model_shows_itself_in_ten_lines(model):
    shown = repr(model).splitlines()
    assert len(shown) < 10
    total = sum(parameter.numel() for parameter in model.parameters())
    assert f"  head          {model.config.head.type}" in shown
    assert any(line.startswith(f"  parameters    {total:,}, ") for line in shown)


def test_answering_leaves_a_training_model_in_training(model, picture):
    model.train()
    model.answer(picture, QUESTIONS[0])
    assert model.training
    assert not model.image_encoder.training  # frozen: stays in eval mode
    model.eval()


def test_a_long_question_is_cut_with_a_warning(model, picture):
    with pytest.warns(UserWarning, match=r"has \d+ tokens, but the text encoder reads at most 64"):
        model.answer(picture, "is it red or blue? " * 40)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("a" * 10_000, "10,000 characters"),
        (7, "is 7"),
        (["what?", None], "is None"),
    ],
)
def test_a_question_that_cannot_be_used_is_told(model, picture, question, told):
    with pytest.raises(QuestionError, match=told):
        model.answer(picture, question)


def test_other_mistakes_are_told(model, picture, tmp_path):
    with pytest.raises(ImageError, match="nowhere"):
        model.answer("nowhere.png", "what?")
    with pytest.raises(ImageError, match="list of images is empty"):
        model.answer([], "what?")
    with pytest.raises(ConfigError, match="2 images but 3 questions"):
        model.answer([picture, picture], QUESTIONS)
    with pytest.raises(ConfigError, match="top_k is 0"):
        model.answer(picture, "what?", top_k=0)
    with pytest.raises(ConfigError, match="has no argument 'beems'"):
        model.answer(picture, "what?", beems=3)


@pytest.mark.parametrize(
    ("parts", "error", "told"),
    [
        ({"encoder": "tiny-clop", "head": "mlp"}, UnknownNameError, "Did you mean 'tiny-clip'"),
        ({"encoder": "lstm", "head": "mlp"}, UnknownNameError, "'lstm' is a head, not an encoder"),
        ({"encoder": "minilm", "head": "mlp"}, IncompatibleError, "image_encoder="),
        ({"encoder": "efficientnet-lite0", "head": "mlp"}, IncompatibleError, "text_encoder="),
        ({"image_encoder": "tiny-clip", "head": "mlp"}, ConfigError, "No text_encoder is named"),
        (
            {"encoder": "tiny-clip", "head": "mlp", "fusion": {"type": "sum", "args": {"dim": -1}}},
            ConfigError,
            "'dim' is -1, but from 1 to inf",
        ),
    ],
)
def test_parts_that_do_not_fit_are_told_before_anything_is_built(parts, error, told):
    with pytest.raises(error, match=told):
        vqazoo.create(answers=ANSWERS, **parts)


def test_an_unknown_parameter_prefix_is_told():
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=ANSWERS)
    with pytest.raises(ConfigError, match="No encoder parameter starts with 'visual'"):
        model.set_trainable(["visual"])


def test_only_the_named_encoder_parameters_train():
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=ANSWERS)
    assert not any(p.requires_grad for p in model.towers.parameters())
    model.set_trainable(["both.model.visual.layer4"])
    names = {n for n, p in model.towers.named_parameters() if p.requires_grad}
    assert names
    assert all(name.startswith("both.model.visual.layer4") for name in names)
    model.train()
    assert model.towers["both"].model.visual.layer4[0].bn1.training
    assert not model.towers["both"].model.visual.layer3[0].bn1.training


def test_normalisation_statistics_of_a_frozen_encoder_do_not_move(table):
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=ANSWERS).train()
    before = {n: b.clone() for n, b in model.towers.named_buffers()}
    features = model(torch.randn(4, 3, 64, 64), ["what?"] * 4)
    loss, _ = model.head.loss(
        features, {"answer": torch.arange(4)[:, None], "weight": torch.ones(4, 1)}
    )
    loss.backward()
    assert all(torch.equal(before[n], b) for n, b in model.towers.named_buffers())
    assert all(p.grad is None for p in model.towers.parameters())


def test_the_device_is_the_one_that_is_named_else_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'nowhere' cannot be used"):
        pick_device("nowhere")
