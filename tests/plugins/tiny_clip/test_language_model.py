"""The language model of captions: what it reads, what is written, and that it goes on."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from vqazoo.cli import run
from vqazoo.registry import registry
from vqazoo.training.stepping import warmed_cosine
from vqazoo_tiny_clip import language_figures, language_model
from vqazoo_tiny_clip.render import draw_scene, write_caption
from vqazoo_tiny_clip.wording import is_well_worded

SMALL = ("--steps", 4, "--batch-size", 2, "--save-every", 2, "--dim", 16, "--layers", 1)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts for the vocabulary and for figures."""
    monkeypatch.setattr(language_model, "TEXTS", 200)
    for name, count in (("CAPTIONS", 6), ("SAMPLES", 4), ("LONGEST", 8)):
        monkeypatch.setattr(language_figures, name, count)


def pretrain(*arguments: object) -> int:
    return run(["pretrain-tiny-lm", *map(str, arguments)])


def test_it_writes_a_folder_that_transformers_and_hf_lm_read(tmp_path):
    assert pretrain(*SMALL, "--out", tmp_path) == 0
    folder = tmp_path / "model"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    encoder = registry.build("encoder", f"hf-lm:{folder}", str(folder), {"text"}, chat=True)
    encoder.load_pretrained()
    ids, mask = encoder.tokenize(["what is there?"])
    lent = encoder.eval().lend("language_model")
    answer = torch.tensor([encoder.pieces(["a red circle"])[0]])
    with torch.no_grad():
        scores = lent.logits(lent.question(ids), mask, answer)[0]
        wanted = theirs(torch.cat([ids, answer], 1)).logits[0, ids.shape[1] - 1 : -1]
    torch.testing.assert_close(scores, wanted, rtol=0, atol=1e-5)
    text = encoder.codec.tokenizer.decode(ids[0])
    assert text == "<s>USER: what is there? ASSISTANT:"
    assert encoder.codec.tokenizer("a red circle")["input_ids"][0] == theirs.config.bos_token_id
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["captions"] == 6
    assert figures["parameters"] == sum(p.numel() for p in theirs.parameters())


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path, monkeypatch, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert pretrain(*SMALL, "--out", whole) == 0
    real, calls = language_model.RenderedTexts.batch, []

    def stop(self):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(language_model.RenderedTexts, "batch", stop)
        assert pretrain(*SMALL, "--out", parts) == 130
    assert f"vqazoo pretrain-tiny-lm --resume --out {parts}" in capsys.readouterr().err
    assert pretrain("--resume", "--out", parts) == 0
    tensors = [load_file(out / "model" / "model.safetensors") for out in (whole, parts)]
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())


def test_the_loss_is_that_of_transformers(tmp_path):
    tokenizer = language_model.train_tokenizer(0)
    torch.manual_seed(0)
    model = language_model.build(len(tokenizer), 16, 1, 2)
    ids = torch.randint(3, len(tokenizer), (3, 10))
    loss = language_model._NextToken(model, language_model.Share())(ids)["loss"]
    assert loss.item() == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), abs=1e-5)
    model.eval()
    prompts, answers = [[1, 5, 6], [1, 5]], [[7, 8, 9, 2], [10, 2]]
    losses = []
    for prompt, answer in zip(prompts, answers, strict=True):  # one at a time: nothing is padded
        labels = torch.tensor([[-100] * len(prompt) + answer])
        mean = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss.item()
        losses += [mean] * len(answer)
    found = language_figures._perplexity(model, prompts, answers)
    assert found == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-4)


def test_texts_are_captions_and_turns_and_any_text_can_be_spelled():
    tokenizer = language_model.train_tokenizer(0)
    around = language_model.turn(tokenizer)
    assert around == ("<s>USER: ", " ASSISTANT: ", "</s>")
    rng = random.Random(0)
    texts = [language_model.write_text(rng, around, draw_scene(rng)) for _ in range(200)]
    plain = [text for text in texts if "USER:" not in text]
    asked = [text for text in texts if "USER: what is there? ASSISTANT: " in text]
    assert len(plain) > 40
    assert len(asked) > 40
    assert len(plain) + len(asked) < 190  # the others are questions
    for text in (*texts[:5], "Ünïcode 7 ☕"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_every_rendered_caption_is_well_worded_and_a_question_is_no_caption():
    rng = random.Random(3)
    captions = [write_caption(rng, draw_scene(rng)) for _ in range(2000)]
    assert all(is_well_worded(text) != ("? " in text) for text in captions)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red",
        "a circle red",
        "a orange circle",
        "an red circle",
        "a red circle red",
        "a square shape",
        "one",
        "six circles",
        "a red circle left of",
        "a small red circle left of a blue star",
        "a red circle and a blue star",
        "a red square and a blue star and a red star",
        "a circle at the center",
        "there is a picture of a circle",
        "a red circle </s>",
    ],
)
def test_what_no_template_writes_is_not_well_worded(text):
    assert not is_well_worded(text)


def test_rows_of_rendered_captions_may_ask(tmp_path):
    out = tmp_path / "shapes"
    given = ["render-captions", "--out", str(out), "--count", "2", "--question", "what is there?"]
    assert run(given) == 0
    rows = [json.loads(line) for line in Path(out / "captions.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows] == ["what is there?"] * 2


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path, capsys):
    assert pretrain("--dim", 20, "--heads", 4, "--out", tmp_path) == 1
    assert "A width of 20 does not divide into 4 heads of an even width" in capsys.readouterr().err


def test_the_rate_falls_as_torch_lets_it_after_it_has_risen():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=40)
    rate = warmed_cosine(0.3, 10, 40)
    for step in range(1, 41):
        (wanted,) = scheduler.get_last_lr()
        assert rate(step) == pytest.approx(wanted * min(1, step / 10), rel=1e-9)
        optimiser.step()
        scheduler.step()
