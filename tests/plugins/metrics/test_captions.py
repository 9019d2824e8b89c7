"""METEOR, ROUGE-L and CIDEr-D against their packages, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plugins.metrics.asked import example, measured
from vqazoo.errors import DataError
from vqazoo.interfaces import Answer
from vqazoo.registry import registry

ROWS = [
    (
        [
            "a red bus stands near a house",
            "a bus in the street",
            "the red bus is near the house",
        ],
        "a red bus near the house",
    ),
    (["two dogs play in the snow", "dogs that play"], "two dogs play with a ball in the snow"),
    (["a man rides a horse on the beach", "a man on a horse"], "a woman walks a dog"),
    (["red"], "red"),
]
# Of CiderScorer in pycocoevalcap 1.2 (n=4, sigma=6), which scored the captions of COCO.
COCO = [2.8790336367452847, 2.298600833490086, 0.5368699076084116, 2.5]


def test_cider_is_that_of_the_coco_scorer() -> None:
    metric = registry.build("metric", "cider")
    examples = [example(number, *people) for number, (people, _) in enumerate(ROWS)]
    scores = metric.measure(examples, [Answer(given, 1.0) for _, given in ROWS])[""]
    np.testing.assert_allclose(scores, COCO, rtol=1e-12)
    assert "there is one" in metric.undefined(examples[:1])


def test_cider_leaves_punctuation_and_case_out() -> None:
    dressed = [([f"{text.capitalize()} ." for text in told], f"{a}!") for told, a in ROWS]
    assert measured("cider", dressed) == pytest.approx(measured("cider", ROWS))


def test_rouge_l_is_f1_of_the_longest_common_row_of_words() -> None:
    """`a red bus near the house` (6) and the third reference (7): red bus near the house, 5."""
    assert measured("rouge-l", ROWS[:1])[""] == pytest.approx(2 * 5 / (6 + 7))
    assert measured("rouge-l", [(["blue", "dark red"], "red")])[""] == pytest.approx(2 / 3)


def test_meteor_is_that_of_nltk_with_wordnet_three() -> None:
    """One word that is right: one match in one piece, 1 x (1 - 0.5); `autos` has the stem of
    `auto`, and `car` is a synonym of it in WordNet."""
    assert measured("meteor", [(["red"], "red")])[""] == pytest.approx(0.5)
    assert measured("meteor", [(["autos"], "auto")])[""] == pytest.approx(0.5)
    assert measured("meteor", [(["auto"], "car")])[""] == pytest.approx(0.5)
    assert measured("meteor", [(["auto"], "blue"), (["x"], "")])[""] == 0.0
    # Banerjee & Lavie 2005: all 6 words match, in two pieces: a penalty of 0.5 (2 / 6)^3.
    swapped = [(["the cat sat on a mat"], "on a mat the cat sat")]
    assert measured("meteor", swapped)[""] == pytest.approx(1 - 0.5 * (2 / 6) ** 3)


def test_meteor_without_wordnet_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("VQAZOO_WORDNET", str(tmp_path))
    with pytest.raises(DataError, match=r"METEOR needs WordNet, .*vqazoo\[metrics\]"):
        registry.build("metric", "meteor")
