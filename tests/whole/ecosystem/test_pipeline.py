"""The pipeline that transformers 5 removed: the same calls return what transformers 4.57 returned.

old_pipeline.json holds what it returned for the calls in old_pipeline.py, of a tiny ViLT and a tiny
BLIP whose weights depend on their names only.
"""

from __future__ import annotations

import json
import math
import types

import pytest
import torch

import vqazoo
from tests.whole.ecosystem import old_pipeline
from vqazoo.errors import ConfigError, ImageError, QuestionError, UnknownNameError
from vqazoo.pipelines import VisualQuestionAnsweringPipeline

RECORDED = json.loads(old_pipeline.RECORD.read_text())
CALLS = sorted(RECORDED["vilt"])
QUESTION = "what shape is it?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("old-pipeline")
    old_pipeline.prepare(made)
    return made


@pytest.fixture(scope="module")
def pictures(folder):
    return str(folder / "one.png"), str(folder / "two.png")


@pytest.fixture(scope="module")
def labels(folder, pictures):
    """What our pipeline returns for the same calls of ViLT, which picks from its labels."""
    model = vqazoo.load(f"dir:{folder / 'vilt'}")
    return old_pipeline.calls(
        lambda **options: vqazoo.pipeline(old_pipeline.TASK, model=model, **options), pictures
    )


@pytest.fixture(scope="module")
def blip(folder):
    return vqazoo.pipeline(old_pipeline.TASK, model=vqazoo.load(f"dir:{folder / 'blip'}"))


@pytest.fixture(scope="module")
def written(blip, pictures):
    """The same of BLIP, which writes; `top_k`, which the old one ignored there, is left out."""

    def make(top_k=None):
        return lambda *asked, top_k=None, **options: blip(*asked, **options)

    return old_pipeline.calls(make, pictures)


def close(result):
    """The same result, with scores that may differ a little."""
    if isinstance(result, list):
        return [close(one) for one in result]
    return {k: pytest.approx(v, abs=1e-4) if k == "score" else v for k, v in result.items()}


@pytest.mark.parametrize("call", CALLS)
def test_a_model_with_labels_returns_the_same_answers_and_scores(labels, call):
    assert labels[call] == close(RECORDED["vilt"][call])


@pytest.mark.parametrize("call", CALLS)
def test_a_model_that_writes_returns_the_same_answers_without_scores(written, call):
    assert written[call] == RECORDED["blip"][call]


def test_a_model_that_writes_adds_the_score_if_one_answer_is_asked_for(blip, pictures):
    (answer,) = blip(image=pictures[0], question=old_pipeline.WHAT, top_k=1)
    assert [{"answer": answer["answer"]}] == RECORDED["blip"]["top_k=1"]
    assert 0 < answer["score"] < 1


def test_the_record_is_not_of_one_constant_answer():
    answers = {one["answer"] for one in RECORDED["vilt"]["every picture with every question"][0]}
    written = {one[0]["answer"] for one in RECORDED["blip"]["every picture with every question"]}
    assert len(answers) == 2
    assert len(written) > 1
    assert RECORDED["transformers"].startswith("4.57")


# ---- what the old one did not return --------------------------------------------------------


def test_a_zoo_model_that_writes_ranks_as_many_answers_as_asked_for(writer, picture):
    vqa = vqazoo.pipeline("vqa", model=writer)
    best, second = vqa(image=str(picture), question=QUESTION, top_k=2)
    answer = writer.answer(picture, QUESTION, top_k=2)
    assert best == {"score": answer.score, "answer": answer.text}
    assert second["answer"] == answer.alternatives[0].text
    assert best["score"] > second["score"]


def test_a_generator_is_read_only_as_far_as_answers_are_taken(picker, picture):
    vqa = vqazoo.pipeline(model=picker, device=-1)
    read = []

    def endless():
        while True:
            read.append(1)
            yield {"image": picture, "question": QUESTION}

    answers = vqa(endless(), top_k=1)
    assert isinstance(answers, types.GeneratorType)
    next(answers), next(answers)
    assert len(read) == 2


def test_a_dataset_of_the_package_datasets_is_taken_as_rows(picker, picture):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict(
        {"image": [str(picture)], "question": [QUESTION]},
        features=datasets.Features(image=datasets.Image(), question=datasets.Value("string")),
    )
    (answers,) = vqazoo.pipeline(model=picker)(rows, top_k=1)
    assert answers[0]["answer"] == picker.answer(picture, QUESTION).text


def test_decode_options_of_the_head_and_max_new_tokens_reach_it(writer, picture):
    vqa = vqazoo.pipeline("vqa", model=writer, strategy="beam")
    (answer,) = vqa(picture, QUESTION, max_new_tokens=1)
    assert answer["answer"] == writer.answer(picture, QUESTION, strategy="beam", max_tokens=1).text


def test_names_are_those_of_the_zoo_of_folders_and_of_the_hub(folder):
    from vqazoo.pipelines import _reference

    assert _reference("tiny-clip-lstm-easyvqa", None) == "tiny-clip-lstm-easyvqa"
    assert _reference(str(folder / "vilt"), None) == f"dir:{folder / 'vilt'}"
    assert _reference("dandelin/vilt-b32-finetuned-vqa", "main") == (
        "hub:dandelin/vilt-b32-finetuned-vqa@main"
    )
    assert _reference("hub:me/mine", None) == "hub:me/mine"


def test_a_folder_is_loaded_by_its_path_with_a_dtype(folder):
    vqa = vqazoo.pipeline(
        "vqa",
        model=str(folder / "vilt"),
        torch_dtype=torch.bfloat16,
        use_fast=True,
        trust_remote_code=False,
        framework="pt",
        tokenizer=str(folder / "vilt"),
        device="cpu",
    )
    assert vqa.device == torch.device("cpu")
    assert next(vqa.model.head.parameters()).dtype == torch.bfloat16
    (answer,) = vqa(str(folder / "one.png"), old_pipeline.WHAT, top_k=1)
    assert 0 < answer["score"] < 1
    assert not math.isnan(answer["score"])


def test_a_number_of_a_gpu_that_is_not_there_is_the_cpu_and_says_so(monkeypatch, picker):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="There is no GPU, so device 0 is the CPU"):
        assert vqazoo.pipeline("vqa", model=picker, device=0).device.type == "cpu"


def test_without_a_model_it_takes_the_checkpoint_that_the_old_one_took(monkeypatch, picker):
    asked = []
    monkeypatch.setattr("vqazoo.pipelines.load", lambda ref, **options: asked.append(ref) or picker)
    with pytest.warns(UserWarning, match="No model was named"):
        assert isinstance(vqazoo.pipeline("vqa"), VisualQuestionAnsweringPipeline)
    assert asked == ["vilt-b32-vqav2"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "text-generation"}, UnknownNameError, "Unknown task 'text-generation'"),
        ({}, ConfigError, "Neither a task nor a model was named"),
        ({"model": torch.nn.Linear(1, 1)}, ConfigError, "save it with save_pretrained"),
        ({"model": "me/mine", "tokenizer": "you/yours"}, ConfigError, "leave it out"),
        ({"model": "me/mine", "token": "hf_secret"}, ConfigError, "hf auth login"),
        ({"model": "no-such"}, UnknownNameError, "Unknown model 'no-such'"),
        ({"model": "tiny-clip-lstm-easyvqa", "revision": "v1"}, ConfigError, "not on the Hub"),
        ({"model": "me/mine", "model_kwargs": {"load_in_8bit": True}}, ConfigError, "model_kwargs"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        vqazoo.pipeline(**arguments)
    assert "hf_secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("a.png",), QuestionError, "No question was given"),
        (({"image": "a.png"},), QuestionError, "has only 'image', but a dict with 'image' and 'q"),
        ((["a.png"],), QuestionError, "is 'a.png', but a dict with 'image' and 'question' was exp"),
        (("https://example.org/a.png", "who?"), ImageError, "vqazoo fetches nothing"),
        (("missing.png", "who?"), ImageError, "does not exist"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(picker, arguments, error, message):
    with pytest.raises(error, match=message):
        vqazoo.pipeline(model=picker)(*arguments)


@pytest.mark.parametrize("option", ["top_k", "batch_size"])
def test_numbers_start_at_one(picker, picture, option):
    with pytest.raises(ConfigError, match=f"{option} is 0, but it must be 1 or more"):
        vqazoo.pipeline(model=picker)([{"image": picture, "question": QUESTION}], **{option: 0})


def test_an_unknown_option_is_refused_rather_than_dropped(picker, picture):
    with pytest.raises(ConfigError, match="has no argument 'topk'"):
        vqazoo.pipeline(model=picker)(picture, QUESTION, topk=2)
