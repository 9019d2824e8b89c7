"""Options of decoding choose the strategy that reads them, or are an error; everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.errors import ConfigError
from vqazoo.manifests import HeadManifest
from vqazoo.registry import registry
from vqazoo.toolkit.decode_options import choose, described

QUESTION = "what color is the shape?"
WRITERS = ("lstm", "gru", "lm-generate", "med-decoder", "git-decoder")


def manifest(head: str) -> HeadManifest:
    found = registry.manifest("head", head)
    assert isinstance(found, HeadManifest)
    return found


@pytest.fixture(scope="module")
def writer():
    return vqazoo.load("tiny-clip-lstm-easyvqa")


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "blue.png")
    return str(tmp_path / "blue.png")


@pytest.mark.parametrize("head", WRITERS)
@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        ({}, None),
        ({"max_tokens": 3}, None),
        ({"beam_size": 4}, "beam"),
        ({"beam_size": 1}, "greedy"),
        ({"beam_size": 1, "strategy": "beam"}, "beam"),
        ({"beam_size": 1, "strategy": "greedy"}, "greedy"),
        ({"beam_size": 1, "temperature": 0.5}, "nucleus"),
        ({"temperature": 0.7}, "nucleus"),
        ({"top_p": 0.5, "seed": 3}, "nucleus"),
        ({"seed": 3}, "nucleus"),
    ],
)
def test_an_option_chooses_the_strategy_that_reads_it(head, given, strategy):
    assert choose(head, manifest(head), {}, given).get("strategy") == strategy
    if strategy:  # also where the model's own default is another one
        assert choose(head, manifest(head), {"strategy": "beam"}, given)["strategy"] == strategy


def test_further_options_choose_too():
    for head, given, strategy in (
        ("lm-generate", {"length_penalty": -1.0}, "beam"),
        ("git-decoder", {"early_stopping": True}, "beam"),
        ("med-decoder", {"first_k": 5}, "rank"),
        ("med-decoder", {"sample_k": 5}, "nucleus"),
    ):
        assert choose(head, manifest(head), {}, given)["strategy"] == strategy
    assert choose("git-decoder", manifest("git-decoder"), {}, {"early_stopping": True}) == {
        "early_stopping": "true",
        "strategy": "beam",
    }


@pytest.mark.parametrize("head", WRITERS)
@pytest.mark.parametrize(
    ("given", "top_k", "told"),
    [
        ({"strategy": "greedy", "beam_size": 5}, 1, "'beam_size' is read by strategy=beam only"),
        ({"strategy": "greedy", "temperature": 0.5}, 1, "'temperature' is read by"),
        ({"strategy": "beam", "top_p": 0.5}, 1, "'top_p' is read by strategy=nucleus"),
        ({"strategy": "nucleus", "beam_size": 1}, 1, "'beam_size' is read by"),
        ({"beam_size": 3, "temperature": 0.5}, 1, "read by different strategies"),
        ({"strategy": "nucleus"}, 3, "draws one answer, but top_k is 3"),
        ({"temperature": 0.5}, 3, "draws one answer, but top_k is 3"),
        ({"beam": 3}, 1, "has no argument 'beam'"),
    ],
)
def test_options_that_contradict_are_refused_in_a_sentence(head, given, top_k, told):
    with pytest.raises(ConfigError, match=told) as caught:
        choose(head, manifest(head), {}, given, top_k)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", ["lm-generate", "git-decoder"])
@pytest.mark.parametrize(
    ("name", "wrong", "least"),
    [("min_tokens", -1, 0), ("no_repeat_ngram_size", -1, 0), ("repetition_penalty", 0.0, 1.0)],
)
def test_a_rule_about_tokens_that_means_nothing_is_refused(head, name, wrong, least):
    assert choose(head, manifest(head), {}, {name: least})[name] == least
    with pytest.raises(ConfigError, match=f"'{name}' is {wrong}, but from"):
        choose(head, manifest(head), {}, {name: wrong})


def test_several_answers_are_found_by_beam_search_so_its_options_are_read():
    given = {"strategy": "greedy", "beam_size": 7}
    assert choose("lstm", manifest("lstm"), {}, given, top_k=3)["beam_size"] == 7


def test_a_classifier_takes_no_options():
    assert choose("linear", manifest("linear"), {}, {}) == {}
    with pytest.raises(ConfigError, match="takes no arguments"):
        choose("linear", manifest("linear"), {}, {"beam_size": 3})


def test_the_ways_to_ask_all_heed_the_options(writer, picture):
    beam = writer.answer(picture, QUESTION, strategy="beam", beam_size=3)
    assert writer.answer(picture, QUESTION, beam_size=3) == beam
    table = writer.predict([{"image": picture, "question": QUESTION}], beam_size=3)
    assert table.answers == [beam]
    asked = vqazoo.pipeline("vqa", model=writer, beam_size=3)(picture, QUESTION)
    assert asked[0]["answer"] == beam.text
    for call in (
        lambda: writer.answer(picture, QUESTION, strategy="greedy", temperature=0.5),
        lambda: writer.predict(
            [{"image": picture, "question": QUESTION}], strategy="greedy", beam_size=3
        ),
        lambda: vqazoo.pipeline("vqa", model=writer, strategy="greedy", beam_size=3)(
            picture, QUESTION
        ),
    ):
        with pytest.raises(ConfigError, match="is read by strategy="):
            call()


def test_options_are_told_in_one_order():
    assert described({"top_p": 0.5, "beam_size": 3, "bad_words_ids": [[1, 2]]}) == (
        "bad_words_ids=[[1,2]],beam_size=3,top_p=0.5"
    )
