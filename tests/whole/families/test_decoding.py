"""Decode options given to published models do what the same ones do in transformers' generate."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from tests.plugins.blip.tiny import CAPTIONS, blip, until_end
from tests.plugins.blip2.published import published
from tests.plugins.blip2.test_published import TEXTS, their_ids

QUESTION = "what is this?"
OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"beam_size": 3}, {"num_beams": 3}),
    ({"beam_size": 5, "length_penalty": -1.0}, {"num_beams": 5, "length_penalty": -1.0}),
    ({"repetition_penalty": 1.5}, {"repetition_penalty": 1.5}),
    ({"beam_size": 3, "repetition_penalty": 1.3}, {"num_beams": 3, "repetition_penalty": 1.3}),
    ({"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": 1}),
    ({"min_tokens": 6}, {"min_new_tokens": 6}),
    ({"beam_size": 3, "early_stopping": True}, {"num_beams": 3, "early_stopping": True}),
    ({"max_tokens": 4}, {"max_new_tokens": 4}),
]
SET = {"num_beams": 3, "repetition_penalty": 1.4, "max_new_tokens": 3}


def picture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def spelling(folder: Path) -> Any:
    """Our model of a folder, whose answers are token ids in place of their text."""
    model = vqazoo.load(f"dir:{folder}")
    model.text_encoder.codec.decode = lambda ids: " ".join(map(str, ids))
    return model


def told(ids: list[int]) -> str:
    return " ".join(map(str, ids))


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_blip_answers_and_captions(seed: int, tmp_path: Path) -> None:
    answers, captions = blip(tmp_path / "a", seed=seed), blip(tmp_path / "c", CAPTIONS, seed)
    ours, captioner = spelling(tmp_path / "a"), spelling(tmp_path / "c")
    pixels = ours.transform(picture(seed))[None]
    ids, mask = ours.text_encoder.tokenize([QUESTION])
    for given, options in OPTIONS:
        said = answers.generate(
            pixel_values=pixels, input_ids=ids.clone(), attention_mask=mask.long(), **options
        )[0, 1:].tolist()
        assert ours.answer(picture(seed), QUESTION, **given).text == told(until_end(said)), given
        said = captions.generate(pixels, **options)[0, 1:].tolist()
        assert captioner.caption(picture(seed), **given).text == told(until_end(said)), given


@pytest.mark.parametrize("kind", TEXTS)
@torch.no_grad()
def test_blip2_answers(kind: str, tmp_path: Path) -> None:
    for seed in range(3):
        theirs, processor = published(tmp_path / str(seed), kind, seed)
        ours = spelling(tmp_path / str(seed))
        inputs = processor(
            images=picture(seed), text=TEXTS[kind].format(QUESTION), return_tensors="pt"
        )
        for given, options in OPTIONS:
            expected = their_ids(theirs, inputs, kind, **{"max_new_tokens": 8, **options})
            said = ours.answer(picture(seed), QUESTION, **{"max_tokens": 8, **given})
            assert said.text == told(expected), (seed, given)


@pytest.mark.parametrize("kind", ["blip", "opt", "t5"])
@torch.no_grad()
def test_a_file_that_generate_does_not_read_is_told_and_not_read(kind: str, tmp_path: Path) -> None:
    """transformers gives the model inside, which writes, no generation_config.json."""
    import transformers

    if kind == "blip":
        blip(tmp_path)
        architecture = transformers.BlipForQuestionAnswering
    else:
        _, processor = published(tmp_path, kind)
        architecture = transformers.Blip2ForConditionalGeneration
    file = tmp_path / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | SET))
    theirs = architecture.from_pretrained(tmp_path).eval()
    with pytest.warns(UserWarning, match=r"num_beams = 3.*generate does not read for this family"):
        ours = spelling(tmp_path)
    if kind == "blip":
        ids, mask = ours.text_encoder.tokenize([QUESTION])
        pixels = ours.transform(picture(0))[None]
        said = theirs.generate(pixel_values=pixels, input_ids=ids, attention_mask=mask.long())
        expected = until_end(said[0, 1:].tolist())
    else:
        inputs = processor(
            images=picture(0), text=TEXTS[kind].format(QUESTION), return_tensors="pt"
        )
        ids = theirs.generate(**inputs)[0].tolist()
        ids = ids[inputs["input_ids"].shape[1] :] if kind == "opt" else ids[1:]
        end = theirs.language_model.generation_config.eos_token_id
        expected = ids[: ids.index(end)] if end in ids else ids
    assert ours.answer(picture(0), QUESTION).text == told(expected)
    file.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        spelling(tmp_path)
