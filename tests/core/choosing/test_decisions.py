"""Typed questions: the options and nothing else, in any order, by transformers' formulas."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.calibration import Calibration
from vqazoo.decisions import (
    Choice,
    ChoiceQuestion,
    Predicate,
    PredicateQuestion,
    Refusal,
    Score,
    ScoreQuestion,
    decided,
    question_of,
)
from vqazoo.errors import ConfigError, QuestionError

COLORS = ["red", "blue", "teal", "black"]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture(scope="module", params=["linear", "lstm", "med"])
def model(request: Any) -> vqazoo.VQAModel:
    return vqazoo.load(f"tiny-clip-{request.param}-easyvqa")


def theirs(kind: str, options: list[str], shares: list[float]) -> dict[str, Any]:
    """What transformers answers for the same probabilities."""
    template = pytest.importorskip("transformers.decision.template_utils")
    names = options if kind == "choice" else [str(place) for place in range(len(options))]
    question = template.Question("q", kind, "?", names, names, options)
    return dict(question.answer(shares))


def test_answers_are_those_of_transformers_decision_models() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 7, 255):
        options = [f"option {number}" for number in range(count)]
        scores = rng.normal(size=count).tolist()
        choice = decided(ChoiceQuestion("?", options), scores)
        assert isinstance(choice, Choice)
        shares = list(choice.probabilities.values())
        wanted = theirs("choice", options, shares)
        assert (choice.text, choice.probabilities) == (wanted["choice"], wanted["probabilities"])
        assert choice.confidence == pytest.approx(wanted["confidence"], abs=1e-12)
        score = decided(ScoreQuestion("?", options), scores)
        assert isinstance(score, Score)
        wanted = theirs("score", options, shares)
        assert score.score == pytest.approx(wanted["score"], abs=1e-12)
        assert score.confidence == pytest.approx(wanted["confidence"], abs=1e-12)
        assert list(score.probabilities.values()) == list(wanted["probabilities"].values())


def test_probabilities_are_of_exactly_the_options_and_sum_to_one(
    model: vqazoo.VQAModel, picture: Image.Image
) -> None:
    choice = model.choice(picture, "what color is the shape?", [*COLORS, "zebra"])
    assert list(choice.probabilities) == [*COLORS, "zebra"]
    assert sum(choice.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert all(choice.probabilities[text] == 0 for text in choice.unscored)
    score = model.score(picture, "what color is the shape?", COLORS)
    assert sum(score.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert 0 <= model.predicate(picture, "there is a circle").probability <= 1


def test_the_order_of_choices_changes_no_probability(
    model: vqazoo.VQAModel, picture: Image.Image
) -> None:
    orders = list(itertools.permutations(COLORS))
    asked = [ChoiceQuestion("what color is the shape?", order) for order in orders]
    decisions = model.decide(picture, asked)
    first = decisions[0]
    assert isinstance(first, Choice)
    for decision in decisions[1:]:
        assert isinstance(decision, Choice)
        assert decision.text == first.text
        for text in COLORS:
            share = decision.probabilities[text]
            assert share == pytest.approx(first.probabilities[text], abs=1e-6)


def test_many_questions_of_all_types_are_decided_as_each_alone(
    model: vqazoo.VQAModel, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        ChoiceQuestion("what color is the shape?", COLORS),
        PredicateQuestion("there is a circle"),
        ScoreQuestion("what shape is in the image?", ["circle", "triangle", "rectangle"]),
        ChoiceQuestion("is it red?", ["yes", "no"]),
    ] * 20
    seen: list[int] = []
    encode = model.image_encoder.encode_image
    monkeypatch.setattr(
        model.image_encoder,
        "encode_image",
        lambda pixels, wants: seen.append(len(pixels)) or encode(pixels, wants),
    )
    together = model.decide(picture, asked)
    assert seen == [1]
    for question, decision in zip(asked[:4], together[:4], strict=True):
        (alone,) = model.decide(picture, [question])
        assert type(alone) is type(decision)
        if isinstance(alone, Predicate) and isinstance(decision, Predicate):
            assert decision.probability == pytest.approx(alone.probability, abs=1e-5)
        elif isinstance(alone, Choice | Score) and isinstance(decision, Choice | Score):
            assert decision.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    kinds = [type(decision) for decision in together[4:8]]
    assert kinds == [Choice, Predicate, Score, Choice]


def test_a_question_that_cannot_be_decided_is_refused_alone(picture: Image.Image) -> None:
    model = vqazoo.load("effnet-minilm-mlp-daquar")  # which knows no yes and no
    asked = [
        PredicateQuestion("there is a chair"),
        ChoiceQuestion("what is it?", ["zebra", "unicorn"]),
        ChoiceQuestion("what is it?", ["table", "unicorn"]),
        ChoiceQuestion("what is it?", ["table", "chair"]),
    ]
    no, none, single, choice = model.decide(picture, asked)
    assert isinstance(no, Refusal)
    assert "does not know the answers 'yes' and 'no'" in no.reason
    assert isinstance(none, Refusal)
    assert "knows none of the 2 options and cannot score 'zebra', 'unicorn'" in none.reason
    assert isinstance(single, Refusal)
    assert "knows only one of the 2 options" in single.reason
    assert isinstance(choice, Choice)
    with pytest.raises(ConfigError, match="does not know the answers"):
        model.predicate(picture, "there is a chair")


def test_a_calibrated_temperature_is_that_of_the_softmax(picture: Image.Image) -> None:
    model = vqazoo.load("tiny-clip-linear-easyvqa")
    plain = model.choice(picture, "what color is it?", COLORS, calibrated=False).probabilities
    model.calibration = Calibration(choices=2.5)
    told = model.choice(picture, "what color is it?", COLORS).probabilities
    powers = {text: share ** (1 / 2.5) for text, share in plain.items()}
    for text, power in powers.items():
        assert told[text] == pytest.approx(power / sum(powers.values()), abs=1e-9)
    assert model.choice(picture, "what color is it?", COLORS, calibrated=False).probabilities == (
        plain
    )


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        ("The shape is red.", "is the shape red?"),
        ("there is a circle", "is there a circle?"),
        ("There is not a circle.", "is there not a circle?"),
        ("is it red?", "is it red?"),
        ("A man rides a horse", "is it true that a man rides a horse?"),
        ("USB plugs are visible", "are USB plugs visible?"),
        ("this  isn't\nred", "is it true that this isn't red?"),
    ],
)
def test_a_statement_is_asked_as_a_question(statement: str, question: str) -> None:
    assert question_of(statement) == question


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (["red"], "The number of choices is 1, but 2 to 255 were expected"),
        ([str(number) for number in range(256)], "The number of choices is 256, but 2 to 255"),
        (["red", "Red. "], "'red' and 'Red. ' are the same answer"),
        ("red", "The choices are 'red', but a list of texts"),
        (["red", " "], "one is ' ', but each must be a text"),
        (["red", 3], "one is 3, but each must be a text"),
    ],
)
def test_choices_that_are_none_are_refused(choices: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ChoiceQuestion("what?", choices)


def test_questions_that_cannot_be_asked_are_refused(
    model: vqazoo.VQAModel, picture: Image.Image
) -> None:
    with pytest.raises(QuestionError, match="The statement is ' ', but a text"):
        PredicateQuestion(" ")
    for asked in ([], [PredicateQuestion("it is red")] * 401):
        with pytest.raises(ConfigError, match="questions to decide, but 1 to 400 were expected"):
            model.decide(picture, asked)
    wrong: Any = ["is it red?"]
    with pytest.raises(ConfigError, match="cannot be decided: give a ChoiceQuestion"):
        model.decide(picture, wrong)


def test_ask_decides(
    picture: Image.Image, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from vqazoo.cli import run

    file, name = tmp_path / "a.png", "tiny-clip-linear-easyvqa"
    picture.save(file)

    def asked(*options: str) -> tuple[int, str, str]:
        code = run(["ask", name, str(file), "what color is the shape?", *options])
        return code, *capsys.readouterr()

    code, out, _ = asked("--choices", "red, blue,zebra", "--json")
    told = json.loads(out)
    choice = vqazoo.load(name).choice(file, "what color is the shape?", ["red", "blue", "zebra"])
    assert (code, told["type"], told["text"]) == (0, "choice", choice.text)
    assert told["probabilities"] == pytest.approx(choice.probabilities)
    assert told["unscored"] == ["zebra"]
    code, out, _ = asked("--choices", "red,blue,zebra")
    assert (code, out.splitlines()[-1].split()[:2]) == (0, ["0.00%", "zebra"])
    assert asked("--statement")[1].endswith("%  true\n")
    assert asked("--levels", "red,blue")[0] == 0
    for wrong, words in (
        (("--choices", "red"), "The number of choices is 1,"),
        (("--choices", "a,b", "--statement"), "exclude one another"),
        (("--choices", "red,blue", "--top-k", "2"), "leave out --top-k"),
        (("--choices", "ox,zebra"), "knows none of the 2 options"),
    ):
        code, _, err = asked(*wrong)
        assert code == 1
        assert words in err
