"""Every head scores given answers: classifiers those they know, writers token by token."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqazoo
from vqazoo.errors import ConfigError

QUESTION = "what color is the shape?"
WRITERS = ("lstm", "gru", "git", "med")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    return [Image.fromarray(values) for values in noise]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    named = {name: f"tiny-clip-{name}-easyvqa" for name in ("linear", *WRITERS)}
    return {name: vqazoo.load(reference) for name, reference in named.items()}


def ranked(model: Any, *given: Any, **how: Any) -> dict[str, float]:
    best = model.rank(*given, **how, calibrated=False)
    return {answer.text: answer.score for answer in (best, *best.alternatives)}


@torch.no_grad()
def by_hand(model: Any, picture: Any, question: str, ids: list[int]) -> float:
    """The log-probability of output tokens, each after those before it, one answer alone."""
    model.eval()
    image = model.encode_image(model.transform(picture)[None])
    scores, state, step = model.head.begin_answer(
        model.fusion(image, model.encode_text([question]))
    )
    total = 0.0
    for place, token in enumerate(ids):
        if place:
            scores, state = step(torch.tensor([ids[place - 1]]), state)
        total += float(scores.log_softmax(dim=1)[0, token])
    return total


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_scores_the_product_of_token_probabilities(
    name: str, models: dict[str, Any], pictures: list[Image.Image]
) -> None:
    model = models[name]
    candidates = ["red", "blue", "yes", "no", "rectangle", "teal"]
    spelling = model.head.spelling()
    told = [
        ranked(model, picture, QUESTION, candidates, top_k=len(candidates)) for picture in pictures
    ]
    together = model.rank(pictures, [QUESTION] * 3, candidates, len(candidates), calibrated=False)
    for text in candidates:
        if isinstance(spelling.vocabulary, torch.Tensor):  # of lstm
            outputs = spelling.vocabulary.tolist()
            ids = [outputs.index(token) for token in model.text_encoder.pieces([text])[0]]
        elif spelling.vocabulary is None:
            ids = model.text_encoder.pieces([text])[0]
        else:
            ids = [spelling.vocabulary.index(word) for word in text.split()]
        for row, picture in enumerate(pictures):
            wanted = by_hand(model, picture, QUESTION, [*ids, spelling.end])
            assert told[row][text] == pytest.approx(math.exp(wanted), abs=1e-5)
            best = together[row]
            many = {answer.text: answer.score for answer in (best, *best.alternatives)}
            assert many[text] == pytest.approx(math.exp(wanted), abs=1e-5)


@pytest.mark.parametrize("name", ["linear", *WRITERS])
def test_blanks_case_and_full_stops_make_no_other_answer(
    name: str, models: dict[str, Any], pictures: list[Image.Image]
) -> None:
    """As choices they are the same answer; the oracle is the answer as training wrote it."""
    model, picture = models[name], pictures[0]
    plain = ranked(model, picture, QUESTION, ["red", "green", "yes"], top_k=3)
    shares = model.choice(picture, QUESTION, ["red", "green"], calibrated=False).probabilities
    for text in ("green ", "  green", "Green", "green.", " GREEN. "):
        told = ranked(model, picture, QUESTION, ["red", text, "yes", "Yes"], top_k=4)
        assert told[text] == pytest.approx(plain["green"], rel=1e-4)
        assert told["yes"] == told["Yes"] == pytest.approx(plain["yes"], rel=1e-4)
        choice = model.choice(picture, QUESTION, ["red", text], calibrated=False)
        assert choice.probabilities[text] == pytest.approx(shares["green"], rel=1e-4)
        assert len(ranked(model, picture, QUESTION, ["red", text, "yes", "Yes"], top_k=2)) == 2


@pytest.mark.parametrize("name", ["git", "med"])
def test_an_answer_that_training_did_not_know_keeps_its_full_stop(
    name: str, models: dict[str, Any], pictures: list[Image.Image]
) -> None:
    """Heads that write any token score it as it is written, but for blanks that no answer has."""
    told = ranked(models[name], pictures[0], QUESTION, ["mr. x", "mr.  x ", "mr x"], top_k=3)
    assert told["mr. x"] == told["mr.  x "] != told["mr x"]


@pytest.mark.parametrize("name", WRITERS)
def test_choices_are_shares_of_those_probabilities(
    name: str, models: dict[str, Any], pictures: list[Image.Image]
) -> None:
    choices = ["teal", "green", "rectangle", "black"]
    scores = ranked(models[name], pictures[0], QUESTION, choices, top_k=4)
    choice = models[name].choice(pictures[0], QUESTION, choices, calibrated=False)
    for text, share in choice.probabilities.items():
        assert share == pytest.approx(scores[text] / sum(scores.values()), abs=1e-5)


def test_a_classifier_ranks_what_it_knows_and_names_the_others(
    models: dict[str, Any], pictures: list[Image.Image]
) -> None:
    model = models["linear"]
    best = model.rank(pictures[0], QUESTION, ["zebra", "Red ", "blue", "a horse"], top_k=9)
    listed = (best, *best.alternatives)
    assert {answer.text for answer in listed} == {"Red ", "blue"}
    assert all(answer.unscored == ("zebra", "a horse") for answer in listed)
    whole = model.answer(pictures[0], QUESTION, top_k=len(model.answers))
    known = {answer.text: answer for answer in (whole, *whole.alternatives)}
    for answer in listed:
        same = known[answer.text.strip().lower()]
        assert answer.score == pytest.approx(same.score, abs=1e-6)
        assert answer.answer_type == same.answer_type
        assert answer.answerable == pytest.approx(same.answerable)
    with pytest.raises(ConfigError, match="knows none of the 1 candidates, such as 'zebra'"):
        model.rank(pictures[0], QUESTION, ["zebra"])


def test_unknown_candidates_are_scored_as_the_nearest_answer_only_if_asked(
    models: dict[str, Any], pictures: list[Image.Image]
) -> None:
    model, picture = models["linear"], pictures[0]
    with torch.no_grad():
        known = torch.nn.functional.normalize(
            model.encode_text(list(model.answers.texts)).pooled, dim=1
        )
        asked = torch.nn.functional.normalize(model.encode_text(["crimson"]).pooled, dim=1)
    near, place = (asked @ known.T).max(dim=1)
    scores = ranked(model, picture, QUESTION, ["crimson"], unknown="nearest")
    alike = ranked(model, picture, QUESTION, [model.answers.texts[int(place)]])
    (score,), (wanted,) = scores.values(), alike.values()
    assert score == pytest.approx(wanted * float(near), rel=1e-4)
    choice = model.choice(picture, QUESTION, ["crimson", "blue"], unknown="nearest")
    assert choice.unscored == ()
    with pytest.raises(ConfigError, match="unknown is 'guess', but it must be one of unscored"):
        model.rank(picture, QUESTION, ["red"], unknown="guess")


def test_a_word_that_a_writer_cannot_spell_is_named(
    models: dict[str, Any], pictures: list[Image.Image]
) -> None:
    for name in ("gru", "lstm"):
        best = models[name].rank(pictures[0], QUESTION, ["zebra", "<eos>", "red"], top_k=3)
        assert (best.text, best.alternatives) == ("red", ())
        assert set(best.unscored) == {"zebra", "<eos>"}
