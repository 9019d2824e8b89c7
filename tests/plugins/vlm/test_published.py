"""Vision-language models answer as transformers' own class: tiny random weights, their files."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.smolvlm import processing_smolvlm

import vqazoo
from tests.plugins.vlm.tiny import MADE
from vqazoo.cli import run
from vqazoo.errors import CheckpointError, ConfigError, QuestionError, WeightsError
from vqazoo_vlm.manifest import SHORT

QUESTIONS = ["what is it?", "is the red circle left of the blue one, or below?", "why"]
CANDIDATES = ["red", "a blue square", "no", "2"]


def picture(size=(50, 40), seed=0):
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


PICTURES = [picture(), picture((40, 60), 1), picture((50, 40), 2)]


@pytest.fixture(scope="module", params=sorted(MADE))
def made(request, tmp_path_factory):
    """A folder, our model of it, transformers' model and processor."""
    with pytest.MonkeyPatch.context() as patch:
        numbers_in_words(patch)
        folder = MADE[request.param](tmp_path_factory.mktemp(request.param))
        theirs = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
        processor = transformers.AutoProcessor.from_pretrained(folder)
        return request.param, vqazoo.load(f"dir:{folder}"), theirs, processor


def numbers_in_words(patch):
    """The processor of SmolVLM is not built without num2words, which is for prompts of videos."""
    if importlib.util.find_spec("num2words") is None:

        def never(number):
            raise AssertionError("a number was to be written in words")

        patch.setattr(processing_smolvlm, "num2words", never)


@pytest.mark.skipif(importlib.util.find_spec("num2words") is not None, reason="it is installed")
def test_a_package_that_a_processor_needs_is_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        numbers_in_words(patch)
        folder = MADE["smolvlm"](tmp_path)
    with pytest.raises(WeightsError, match="install it with pip, such as num2words for SmolVLM"):
        vqazoo.load(f"dir:{folder}")


def inputs_of(name, processor, image, question):
    """What the documentation of each model gives its processor, one row."""
    if name == "paligemma":
        return processor(images=image, text=f"<image>answer en {question}", return_tensors="pt")
    if name == "florence2":
        return processor(images=image, text=question, return_tensors="pt")
    turn = {"type": "image", "image": image}, {"type": "text", "text": f"{question}\n{SHORT}"}
    return processor.apply_chat_template(
        [{"role": "user", "content": list(turn)}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def written(name, theirs, processor, image, question, **options):
    """What `generate` writes, and the product of its tokens' probabilities, end included."""
    inputs = inputs_of(name, processor, image, question)
    out = theirs.generate(
        **{k: v for k, v in inputs.items() if k != "labels"},
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    tokens = out.sequences[0, -len(out.logits) :]
    scores = torch.stack(out.logits)[:, 0].log_softmax(1).gather(1, tokens[:, None])
    text = processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return text, float(scores.double().sum())


def test_answers_are_those_of_generate(made):
    name, model, theirs, processor = made
    answers = model.answer(PICTURES, QUESTIONS, max_tokens=6)
    for answer, image, question in zip(answers, PICTURES, QUESTIONS, strict=True):
        text, total = written(name, theirs, processor, image, question, max_new_tokens=6)
        assert answer.text == text
        assert answer.score == pytest.approx(math.exp(total), rel=1e-4, abs=1e-9)


def test_a_batch_is_answered_as_each_alone(made):
    _, model, _, _ = made
    together = model.answer(PICTURES, QUESTIONS, max_tokens=5)
    alone = [
        model.answer(image, question, max_tokens=5)
        for image, question in zip(PICTURES, QUESTIONS, strict=True)
    ]
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    for batched, single in zip(together, alone, strict=True):
        assert batched.score == pytest.approx(single.score, rel=1e-4)


def test_candidates_have_the_likelihood_of_one_whole_pass(made):
    name, model, theirs, processor = made
    ranked = model.rank(PICTURES[0], QUESTIONS[0], CANDIDATES, top_k=4)
    said = {answer.text: answer.score for answer in (ranked, *ranked.alternatives)}
    inputs = dict(inputs_of(name, processor, PICTURES[0], QUESTIONS[0]))
    inputs.pop("labels", None)
    end = theirs.generation_config.eos_token_id
    for text in CANDIDATES:
        tokens = [*model.head.spelled(text), end]
        if theirs.config.is_encoder_decoder:
            begin = theirs.generation_config.decoder_start_token_id
            given = {**inputs, "decoder_input_ids": torch.tensor([[begin, *tokens[:-1]]])}
        else:
            more = torch.tensor([tokens[:-1]])
            given = {**inputs, "input_ids": torch.cat([inputs["input_ids"], more], 1)}
            for key in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
                if key in given:
                    fill = int(key != "mm_token_type_ids")  # PaliGemma: 1 is the answer
                    more_of = torch.full_like(more, fill)
                    given[key] = torch.cat([given[key], more_of], 1)
        with torch.no_grad():
            scores = theirs(**given).logits[0, -len(tokens) :].log_softmax(1)
        total = float(scores.gather(1, torch.tensor(tokens)[:, None]).double().sum())
        assert math.log(said[text]) == pytest.approx(total, abs=1e-4), text


def test_it_chooses_judges_and_scores(made):
    _, model, _, _ = made
    choice = model.choice(PICTURES[0], QUESTIONS[0], CANDIDATES)
    assert choice.text == model.rank(PICTURES[0], QUESTIONS[0], CANDIDATES).text
    assert 0 <= model.predicate(PICTURES[0], "It is red.").probability <= 1
    assert model.score(PICTURES[0], "how red?", ["none", "some", "all"]) is not None


def test_beams_are_those_of_generate(made):
    name, model, theirs, processor = made
    best = model.answer(PICTURES[0], QUESTIONS[1], top_k=3, beam_size=3, max_tokens=4)
    inputs = dict(inputs_of(name, processor, PICTURES[0], QUESTIONS[1]))
    inputs.pop("labels", None)
    rows = theirs.generate(
        **inputs, do_sample=False, num_beams=3, num_return_sequences=3, max_new_tokens=4
    )
    first = 0 if theirs.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    texts = [
        processor.tokenizer.decode(row[first:], skip_special_tokens=True).strip() for row in rows
    ]
    assert [a.text for a in (best, *best.alternatives)] == list(dict.fromkeys(texts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return MADE["llava"](tmp_path_factory.mktemp("llava"))


def altered(folder, tmp_path, file="config.json", **changes):
    """A copy of the folder with other values in a JSON file; None removes one."""
    copied = shutil.copytree(folder, tmp_path / "copied")
    said = {**json.loads((copied / file).read_text()), **changes}
    (copied / file).write_text(json.dumps({k: v for k, v in said.items() if v is not None}))
    return copied


def test_code_of_a_repository_is_never_run(folder, tmp_path):
    copied = altered(folder, tmp_path, auto_map={"AutoModel": "own.Model"})
    with pytest.raises(CheckpointError, match="code of its own"):
        vqazoo.load(f"dir:{copied}")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "moondream1"}, "moondream1"),
        ({"architectures": ["LlavaForTiles"]}, "LlavaForTiles"),
    ],
)
def test_what_is_not_known_is_named(folder, tmp_path, change, named):
    with pytest.raises(CheckpointError, match=named):
        vqazoo.load(f"dir:{altered(folder, tmp_path, **change)}")


@pytest.mark.parametrize(
    ("kind", "part", "count", "named"),
    [
        ("llava", "text_config", "num_hidden_layers", r"language_model\.layers\.1\."),
        ("llava", "vision_config", "num_hidden_layers", r"vision_tower\.encoder\.layers\.1\."),
        ("qwen2_vl", "vision_config", "depth", r"visual\.blocks\.1\."),  # saved under older names
    ],
)
def test_weights_with_more_layers_than_the_config_counts_are_refused(
    tmp_path, kind, part, count, named
):
    made = MADE[kind](tmp_path / kind)
    said = json.loads((made / "config.json").read_text())
    assert said[part][count] == 2
    copied = altered(made, tmp_path, **{part: {**said[part], count: 1}})
    with pytest.raises(WeightsError, match=rf"more layers than its config counts.*{named}"):
        vqazoo.load(f"dir:{copied}")


def test_without_a_chat_template_nothing_says_how_to_ask(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copied")
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="no chat template"):
        vqazoo.load(f"dir:{copied}")


def test_a_question_that_leaves_no_place_is_refused(folder):
    with pytest.raises(QuestionError, match="2,048"):
        vqazoo.load(f"dir:{folder}").answer(PICTURES[0], "why " * 499, max_tokens=60)


def test_a_word_that_stands_for_a_picture_is_refused_as_a_question(made):
    name, model, _, processor = made
    question = f"what is {processor.image_token}?"
    with pytest.raises(QuestionError, match="stands for a picture in the prompts of this model"):
        model.answer(PICTURES[0], question, max_tokens=3)
    assert model.answer(PICTURES[0], "what is <picture>?", max_tokens=3).text is not None, name


def test_a_question_that_cannot_be_read_costs_no_other_row_its_answer(folder, tmp_path):
    PICTURES[0].save(tmp_path / "a.png")
    questions = [QUESTIONS[0], "why " * 499, "what is <image>?", QUESTIONS[1]]
    rows = [{"image": "a.png", "question": question} for question in questions]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out.jsonl"
    data = ["--data", str(tmp_path / "rows.jsonl"), "--decode", "max_tokens=60"]
    assert run(["predict", f"dir:{folder}", *data, "--out", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    model = vqazoo.load(f"dir:{folder}")
    for row, question in ((0, QUESTIONS[0]), (3, QUESTIONS[1])):
        alone = model.answer(PICTURES[0], question, max_tokens=60)
        assert (found[row]["answer"], found[row]["error"]) == (alone.text, None)
    assert "2,048" in found[1]["error"]
    assert "stands for a picture" in found[2]["error"]
    assert found[1]["answer"] is found[2]["answer"] is None


def test_eval_names_the_question_that_cannot_be_read(folder, tmp_path, capsys):
    PICTURES[0].save(tmp_path / "a.png")
    questions = [QUESTIONS[0], "what is <image>?", QUESTIONS[1]]
    rows = [{"image": "a.png", "question": question, "answer": "red"} for question in questions]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = ["--data", str(tmp_path / "rows.jsonl"), "--decode", "max_tokens=2"]
    assert run(["eval", f"dir:{folder}", *data, "--out", str(tmp_path / "out")]) != 0
    told = capsys.readouterr().err
    assert "Question '2' ('what is <image>?'): " in told, told
    assert "stands for a picture" in told


def test_it_is_neither_trained_nor_saved(folder, tmp_path):
    model = vqazoo.load(f"dir:{folder}")
    with pytest.raises(ConfigError, match="is not trained here"):
        model.head.targets([])
    with pytest.raises(vqazoo.errors.VqazooError):
        model.save(tmp_path / "saved")


def test_the_instruction_is_an_option(folder):
    model = vqazoo.load(f"dir:{folder}")
    plain = model.answer(PICTURES[0], "what is it?", instruction="", max_tokens=4)
    long = model.answer(PICTURES[0], f"what is it?\n{SHORT}", instruction="", max_tokens=4)
    usual = model.answer(PICTURES[0], "what is it?", max_tokens=4)
    assert usual == long
    assert usual != plain


def test_the_generation_config_of_the_repository_is_honoured(folder, tmp_path):
    plain = vqazoo.load(f"dir:{folder}").answer(PICTURES[0], QUESTIONS[0], max_tokens=6)
    changes = {"repetition_penalty": 1.9, "do_sample": True, "max_new_tokens": 3}
    model = vqazoo.load(f"dir:{altered(folder, tmp_path, 'generation_config.json', **changes)}")
    answer = model.answer(PICTURES[0], QUESTIONS[0])
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    given = {"repetition_penalty": 1.9, "max_new_tokens": 3}
    text, _ = written("llava", theirs, processor, PICTURES[0], QUESTIONS[0], **given)
    assert answer.text == text != plain.text
    assert model.answer(PICTURES[0], QUESTIONS[0]) == answer  # it never draws


def test_half_precision_sees_every_pixel(folder):
    half = vqazoo.load(f"dir:{folder}", dtype="bfloat16")
    fused = half(half.transform(PICTURES[0])[None], ["why is é?"])
    image, question = half.head._rows(fused)[0]
    assert np.array_equal(np.array(image), np.array(PICTURES[0]))
    assert question == "why is é?"
    assert half.answer(PICTURES[0], "why?", max_tokens=3).text is not None


def test_a_model_that_memory_cannot_hold_is_refused_by_its_headers(folder, monkeypatch):
    monkeypatch.setattr("vqazoo_vlm.published.memory_free", lambda device: 1000)
    with pytest.raises(vqazoo.errors.WeightsError, match="parameters, which need"):
        vqazoo.load(f"dir:{folder}")
