"""What generation_config.json says is done as transformers' own generate does it, by the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import vqazoo
from tests.plugins.git.test_published import QUESTIONS, picture
from tests.plugins.git.tiny import git
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, QuestionError

END = 3
SETTINGS: list[dict[str, Any]] = [
    {},
    {"num_beams": 3},
    {"num_beams": 4, "length_penalty": -1.0},
    {"repetition_penalty": 1.5},
    {"num_beams": 3, "repetition_penalty": 1.3},
    {"num_beams": 3, "repetition_penalty": 0.7, "max_length": 12},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 1, "num_beams": 2},
    {"max_length": 9},
    {"max_new_tokens": 4, "max_length": 30},
    {"min_length": 12},
    {"min_new_tokens": 6},
    {"min_new_tokens": 5, "num_beams": 3},
    {"early_stopping": True, "num_beams": 3},
    {"early_stopping": "never", "num_beams": 3, "length_penalty": 2.0},
    {"suppress_tokens": [5, 6, 7, 8]},
    {"begin_suppress_tokens": [5, 6, 7, 8, 9, 10]},
    {"bad_words_ids": [[5], [6, 7], [END]]},
    {"eos_token_id": [END, 7, 8]},
    {"eos_token_id": [END, 7, 8], "num_beams": 3},
    {"eos_token_id": None, "num_beams": 2},
    {"forced_eos_token_id": END, "max_new_tokens": 5},
    {"forced_bos_token_id": 9},
    {"temperature": 0.5, "top_k": 3, "num_return_sequences": 1, "use_cache": False},
]


def told(options: dict[str, Any]) -> str:
    return "-".join(f"{name}={value}" for name, value in options.items()) or "nothing"


def write_generation(folder: Path, **settings: Any) -> None:
    file = folder / "generation_config.json"
    said = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(said | settings))


def spelling(folder: Path) -> Any:
    """Our model of a folder, whose answers are token ids in place of their text."""
    model = vqazoo.load(f"dir:{folder}")
    model.text_encoder.codec.decode = lambda ids: " ".join(map(str, ids))
    return model


def theirs(folder: Path, pixels: torch.Tensor, question: str | None, **options: Any) -> str:
    """What generate writes, called with nothing but the picture and the question.

    Without its cache: with it, transformers 5.10 writes something else than without, and 5.24 the
    same.
    """
    import transformers

    model = transformers.GitForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    asked = [tokenizer.cls_token_id]
    if question is not None:
        asked += tokenizer(question, add_special_tokens=False).input_ids
        options["input_ids"] = torch.tensor([asked])
    with torch.no_grad():
        ids = model.generate(pixel_values=pixels, use_cache=False, **options)
    ids = ids[0, len(asked) :].tolist()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    last = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return " ".join(map(str, ids[:last]))


@pytest.mark.parametrize("settings", SETTINGS, ids=told)
def test_answers_and_captions_are_those_of_generate_by_the_file(settings, tmp_path):
    for seed in (0, 1):
        folder = git(tmp_path / str(seed), seed)
        write_generation(folder, **settings)
        model = spelling(folder)
        one = picture(seed=seed)
        pixels = model.transform(one)[None]
        for question, answer in zip(QUESTIONS, model.answer(one, QUESTIONS), strict=True):
            assert answer.text == theirs(folder, pixels, question), (seed, question)
        assert model.caption(one).text == theirs(folder, pixels, None), seed


def test_the_settings_change_the_answers(tmp_path):
    """Else the test above would compare little."""
    plain: list[str] = []
    changed = 0
    for number, settings in enumerate(SETTINGS):
        folder = git(tmp_path / str(number), 1)
        write_generation(folder, **settings)
        model = spelling(folder)
        said = [one.text for one in model.answer(picture(seed=1), QUESTIONS)]
        said.append(model.caption(picture(seed=1)).text)
        plain = plain or said
        changed += said != plain
    assert changed >= len(SETTINGS) // 2


def test_without_the_file_the_settings_in_config_json_decide(tmp_path):
    folder = git(tmp_path / "published", 1)
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_beams": 4, "max_length": 11}))
    model = spelling(folder)
    assert model.config.decode["beam_size"] == 4
    pixels = model.transform(picture())[None]
    for question in QUESTIONS:
        assert model.answer(picture(), question).text == theirs(folder, pixels, question)


def test_what_is_given_comes_before_the_file(tmp_path):
    folder = git(tmp_path / "published", 1)
    write_generation(folder, num_beams=4, length_penalty=-1.0)
    model = spelling(folder)
    pixels = model.transform(picture())[None]
    for given, options in (
        ({"strategy": "greedy"}, {"num_beams": 1}),
        ({"beam_size": 1}, {"num_beams": 1}),
        ({"beam_size": 2}, {"num_beams": 2}),
        ({"length_penalty": 1.0, "max_tokens": 5}, {"length_penalty": 1.0, "max_new_tokens": 5}),
    ):
        expected = theirs(folder, pixels, QUESTIONS[1], **options)
        assert model.answer(picture(), QUESTIONS[1], **given).text == expected, given


def test_sampling_draws_as_often_as_transformers(tmp_path):
    """Temperature, then the k likeliest, then the mass: frequencies of the first token."""
    folder = git(tmp_path / "published", 1)
    write_generation(folder, do_sample=True, temperature=2.0, top_k=6, top_p=0.8, max_new_tokens=1)
    model = spelling(folder)
    assert model.config.decode["strategy"] == "nucleus"
    pixels, draws = model.transform(picture())[None], 400
    ours = [model.answer(picture(), QUESTIONS[0], seed=seed).text for seed in range(draws)]
    import transformers

    theirs_own = transformers.GitForCausalLM.from_pretrained(folder).eval()
    ids, _ = model.text_encoder.tokenize(QUESTIONS[:1])
    torch.manual_seed(0)
    with torch.no_grad():
        said = theirs_own.generate(
            pixel_values=pixels.expand(draws, -1, -1, -1), input_ids=ids.expand(draws, -1)
        )[:, -1].tolist()
    expected = ["" if token == END else str(token) for token in said]
    assert set(ours) == set(expected)
    assert len(set(ours)) > 2
    for token in set(ours):
        assert abs(ours.count(token) - expected.count(token)) / draws < 0.12


def test_the_options_survive_saving_and_are_in_the_config(tmp_path):
    folder = git(tmp_path / "published")
    write_generation(folder, num_beams=3, repetition_penalty=1.4)
    model = spelling(folder)
    save_checkpoint(model, tmp_path / "saved")
    said = json.loads((tmp_path / "saved" / "config.json").read_text())["decode"]
    assert said["strategy"] == "beam"
    assert said["beam_size"] == 3
    assert said["repetition_penalty"] == 1.4
    again = load_checkpoint(tmp_path / "saved")
    again.text_encoder.codec.decode = model.text_encoder.codec.decode
    assert again.config.decode == model.config.decode
    assert again.answer(picture(), QUESTIONS) == model.answer(picture(), QUESTIONS)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_beams": 3, "do_sample": True}, "num_beams = 3 and do_sample"),
        ({"guidance_scale": 2.0}, "guidance_scale = 2.0"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha = 0.6"),
        ({"num_return_sequences": 2, "num_beams": 2}, "num_return_sequences = 2"),
        ({"exponential_decay_length_penalty": [5, 1.1]}, "exponential_decay_length_penalty"),
        ({"do_sample": True, "min_p": 0.1}, r"min_p = 0\.1"),
        ({"renormalize_logits": True}, "renormalize_logits = True"),
        ({"sequence_bias": [[[5], 2.0]]}, "sequence_bias"),
        ({"some_new_setting": 1}, "some_new_setting = 1"),
        ({"num_beams": "many"}, "num_beams"),
        ({"bos_token_id": 9}, "starts captions with the token 9"),
    ],
)
def test_a_setting_that_is_not_honoured_is_named(settings, told, tmp_path):
    folder = git(tmp_path / "published")
    write_generation(folder, **settings)
    with pytest.raises(CheckpointError, match=told) as caught:
        vqazoo.load(f"dir:{folder}")
    assert "generation_config.json" in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "5", "\x00"])
def test_a_broken_file_is_told(content, tmp_path):
    folder = git(tmp_path / "published")
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"generation_config\.json cannot be read"):
        vqazoo.load(f"dir:{folder}")


@pytest.mark.parametrize("settings", [{"do_sample": False, "min_p": 0.1}, {"typical_p": 0.9}])
def test_what_has_no_effect_in_transformers_has_none_here(settings, tmp_path):
    folder = git(tmp_path / "published")
    write_generation(folder, **settings)
    model = spelling(folder)
    pixels = model.transform(picture())[None]
    assert model.answer(picture(), QUESTIONS[0]).text == theirs(folder, pixels, QUESTIONS[0])


def test_a_question_that_leaves_no_room_for_an_answer_is_told(tmp_path):
    folder = git(tmp_path / "published")
    write_generation(folder, max_length=3)
    with pytest.raises(QuestionError, match=r"The question has \d+ tokens.* 3 together"):
        vqazoo.load(f"dir:{folder}").answer(picture(), QUESTIONS[0])


def test_an_answer_by_the_file_does_not_depend_on_its_batch(tmp_path):
    folder = git(tmp_path / "published", 1)
    write_generation(folder, num_beams=3, repetition_penalty=1.5, max_length=12)
    model = spelling(folder)
    for question, answer in zip(QUESTIONS, model.answer(picture(), QUESTIONS), strict=True):
        alone = model.answer(picture(), question)
        assert alone.text == answer.text
        assert re.fullmatch(r"[\d ]*", answer.text)
