"""Whole models with a language model inside: learn, save, load, answer the same."""

from __future__ import annotations

import pytest
import torch

import vqazoo
from tests.plugins.language_models import tiny
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.errors import QuestionError
from vqazoo.training.recipe_run import question_only
from vqazoo.training.stages import Stage, unfreeze
from vqazoo.zoo.recipes import read_recipe

ANSWERS = ["red", "blue", "yes", "no", "3"]
QUESTIONS = ["what is this?", "is the circle red", "what color is it?"]
HEADS = {"distilbert": "lm-classifier", "gpt2": "lm-generate", "t5": "lm-generate"}
SIZE = {"hidden_dim": 16}


def create(folder, family: str, head: str = "", order: str = "question-first", **args):
    torch.manual_seed(0)
    name = head or HEADS[family]
    return vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder={"type": f"hf-lm:{folder}", "args": args},
        fusion={"type": "prefix-mlp", "args": {**SIZE, "order": order}},
        head={"type": name, "args": {"max_tokens": 6} if name == "lm-generate" else {}},
        answers=ANSWERS,
    )


def learn(model, picture, steps: int = 3) -> None:
    """A few steps on pictures of noise."""
    examples = [
        Example(picture, "what?", (answer,), str(i), targets=((answer, 1.0),))
        for i, answer in enumerate(ANSWERS)
    ]
    model.train()
    targets = model.head.targets(examples)
    height, width = model.image_encoder.spec.preprocess.size
    pixels = torch.randn(5, 3, height, width)
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learnt, lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        model.head.loss(model(pixels, QUESTIONS[:2] + QUESTIONS), targets)[0].backward()
        optimiser.step()
    model.eval()


@pytest.mark.parametrize("order", ["question-first", "image-first"])
@pytest.mark.parametrize("trainable", [(), ("*",), ("text.",)], ids=["frozen", "all", "text"])
@pytest.mark.parametrize("family", HEADS)
def test_it_answers_the_same_after_saving_and_loading(tmp_path, picture, family, trainable, order):
    folder = tiny.save(tmp_path / family, family)
    model = create(folder, family, order=order)
    model.set_trainable(trainable)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learn(model, picture)
    moved = {n for n, tensor in model.state_dict().items() if not torch.equal(before[n], tensor)}
    assert any(name.startswith("fusion.mapping") for name in moved)
    inside = {name for name in moved if name.startswith("towers.text.language_model.")}
    assert bool(inside) == bool(trainable)
    save_checkpoint(model, tmp_path / "saved")
    loaded = load_checkpoint(tmp_path / "saved")
    answers = model.answer(picture, QUESTIONS, top_k=2)
    assert loaded.answer(picture, QUESTIONS, top_k=2) == answers
    for question, answer in zip(QUESTIONS, answers, strict=True):
        alone = model.answer(picture, question, top_k=2)
        assert alone.text == answer.text
        assert alone.score == pytest.approx(answer.score, abs=1e-5)


def test_dropout_of_a_frozen_language_model_is_off_while_the_rest_learns(tmp_path, picture):
    model = create(tiny.save(tmp_path, "distilbert"), "distilbert").train()
    language_model = model.text_encoder.lend("language_model")
    assert not any(module.training for module in language_model.modules())
    assert model.head.training
    pixels = torch.randn(2, 3, 64, 64)
    fused = model(pixels, QUESTIONS[:2])
    assert torch.equal(model.head.logits(fused), model.head.logits(fused))
    model.set_trainable(["text."])
    assert all(module.training for module in language_model.modules())
    assert not torch.equal(model.head.logits(fused), model.head.logits(fused))


def test_the_wirings_give_different_answers_from_the_same_weights(tmp_path, picture):
    folder = tiny.save(tmp_path, "distilbert")
    scores = []
    for positions in ("words", "sequence", "twice"):
        model = create(folder, "distilbert", positions=positions)
        scores.append(model.answer(picture, QUESTIONS[0]).score)
    assert len(set(scores)) == 3


@pytest.mark.parametrize("question", ["what is this? " * 5])
def test_a_prompt_beyond_the_context_is_one_sentence(tmp_path, picture, question):
    model = create(tiny.save(tmp_path, "gpt2"), "gpt2")
    with (
        pytest.warns(UserWarning, match="the rest is ignored"),
        pytest.raises(QuestionError, match="reads at most 48 together: ask a shorter question"),
    ):
        model.answer(picture, question)


def test_a_captioner_needs_no_question_tokens_of_its_own_width(tmp_path, picture):
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder=f"hf-lm:{tiny.save(tmp_path, 'gpt2')}",
        fusion="image-tokens",
        head="lm-generate",
        answers=ANSWERS,
    )
    assert model.head.project.weight.shape == (32, model.image_encoder.spec.image.tokens)
    one, other = model.answer(picture, ["what is this?", "is it red?"])
    assert one == other


@pytest.mark.parametrize("family", [*tiny.ENCODERS, "gpt2", "opt", "llama"])
def test_the_last_block_can_be_unfrozen_without_an_output_tied_to_the_words(tmp_path, family):
    folder = tiny.save(tmp_path, family)
    head = "lm-classifier" if family in tiny.ENCODERS else "lm-generate"
    model = create(folder, family, head)
    unfreeze(model, Stage(1, 1, 8, 0, 1e-3, 0.0, (), unfreeze_blocks=1))
    text = model.towers["text"]
    learning = {name for name, p in text.named_parameters() if p.requires_grad}
    assert learning
    assert not any("embed" in name or "wte" in name for name in learning)
    assert all(
        ".1." in name or "norm" in name or "ln_f" in name or "lm_head" in name for name in learning
    )


def test_the_recipe_has_the_published_sizes_and_no_baseline_that_it_cannot_build():
    config = read_recipe("clip-distilbert-cocoqa")
    assert config.fusion.args == {
        "num_layers": 2,
        "hidden_dim": 1024,
        "final_activation": True,
        "activation": "relu",
        "order": "question-first",
    }
    assert config.text_encoder.args["positions"] == "words"
    assert [stage.trainable for stage in config.training.stages] == [[], ["text."], ["text."]]
    assert question_only(config) is None
