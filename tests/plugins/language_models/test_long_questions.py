"""A question that is longer than a text encoder reads: what is said is what is cut."""

from __future__ import annotations

import warnings

import pytest
from transformers import AutoTokenizer

import vqazoo
from tests.plugins.language_models import tiny
from tests.plugins.language_models.test_models import ANSWERS
from vqazoo.errors import VqazooWarning

LONG = "what color is the circle " + "and is it red " * 20


def asked(folder, picture, question, **args):
    """What is warned of the question, and the text that the encoder is given of it."""
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder={"type": f"hf-text:{folder}", "args": args},
        fusion="concat",
        head="linear",
        answers=ANSWERS,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VqazooWarning)
        model.answer(picture, question)
    said = [str(one.message) for one in caught if "The question has" in str(one.message)]
    ids, mask = model.text_encoder.tokenize([question])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return said, tokenizer.decode(ids[mask], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("side", "ignored"), [("right", "the rest is ignored"), ("left", "its beginning is ignored")]
)
def test_it_is_told_which_end_of_the_question_is_not_read(tmp_path, picture, side, ignored):
    folder = tiny.save(tmp_path, "distilbert")
    AutoTokenizer.from_pretrained(folder, truncation_side=side).save_pretrained(folder)
    (said,), read = asked(folder, picture, LONG)
    assert said.endswith(f": {ignored}.")
    assert ("color" in read) == (side == "right")


def test_a_question_that_just_fits_is_not_said_to_be_cut(tmp_path, picture):
    folder = tiny.save(tmp_path, "gpt2")  # which puts nothing around a text
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = "is it red?"
    while (
        len(tokenizer(longer := f"{words}?")["input_ids"]) <= 48
    ):  # as many as this model has positions
        words = longer
    said, read = asked(folder, picture, words)
    assert said == []
    assert read == words
