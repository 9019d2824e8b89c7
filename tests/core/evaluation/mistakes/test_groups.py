"""Groups of mistakes: whose they are, what they cost, and in which order they come."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.core.evaluation.mistakes.conftest import KNOWN, asked, grouped
from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.evaluation.mistakes import Grouping, Mistakes, group_mistakes
from vqazoo.evaluation.mistakes.similarity import cluster
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer


def grouping(mistakes: Mistakes, title: str) -> Grouping:
    return next(one for one in mistakes.groupings if one.title == title)


def test_every_question_is_in_one_group_of_each_grouping(mistakes: Mistakes) -> None:
    assert len(mistakes.groupings) == 6
    for one in mistakes.groupings:
        assert sum(group.questions for group in one.groups) == 61
        rows = [row for group in one.groups for row in group.mistakes]
        assert sorted(rows) == [*range(0, 60, 3), 60]


def test_costs_sum_to_what_is_missing_and_the_dearest_comes_first(mistakes: Mistakes) -> None:
    for one in mistakes.groupings:
        costs = [group.cost for group in one.groups]
        assert math.isclose(sum(costs), 1 - mistakes.score)
        assert costs == sorted(costs, reverse=True)


def test_types_of_question_are_the_words_that_many_share(mistakes: Mistakes) -> None:
    found = grouping(mistakes, "Type of question")
    names = {group.name: (group.questions, group.score) for group in found.groups}
    assert names == {"what color is …": (20, 0.0), "is there a …": (40, 1.0), "other": (1, 0.0)}


def test_the_surest_mistakes_come_first(mistakes: Mistakes) -> None:
    first = grouping(mistakes, "Type of question").groups[0]
    assert first.mistakes == tuple(range(57, -1, -3))
    assert [(c.expected, c.given, c.count) for c in first.confusions] == [("red", "no", 20)]


def test_groups_by_frequency_agree_with_the_metrics_of_eval(mistakes: Mistakes) -> None:
    measured = score(
        mistakes.examples, mistakes.answers, "table", "test", KNOWN, report=lambda line: None
    )
    by_count = {
        metric.name.partition("answer-count=")[2]: (metric.questions, metric.value)
        for metric in measured
        if "answer-count=" in metric.name
    }
    found = {
        group.name.removesuffix(" times").replace("never", "0"): (group.questions, group.score)
        for group in grouping(mistakes, "Frequency of the right answer").groups
    }
    assert found == by_count
    assert mistakes.score == next(m.value for m in measured if m.name == "accuracy")


def test_several_human_answers_are_scored_by_agreement() -> None:
    example = Example(Path("no.png"), "what is it?", ("cat", "cat", "dog", "dog", "dog"), "1")
    found = grouped([example] * 2, [Answer("cat", 0.5), Answer("cow", 0.5)])
    assert found.measure == "vqa-accuracy"
    assert 0 < found.scores[0] < 1
    assert found.count == 1, "half agreed with is no mistake"


def test_questions_without_an_answer_are_left_out() -> None:
    nothing = Example(Path("no.png"), "what is it?", (), "9")
    found = grouped([nothing, asked(0, "is it?", "yes")], [Answer("a", 1), Answer("no", 1)])
    assert [example.question_id for example in found.examples] == ["0"]
    with pytest.raises(DataError, match="split 'test' of 'a set' has no answers"):
        group_mistakes([nothing], [Answer("a", 1)], "a model", "a set", "test")


def test_json_names_the_questions(mistakes: Mistakes) -> None:
    document = json.loads(json.dumps(mistakes.to_json()))
    assert document["mistakes"] == 21
    assert document["confusions"][0] == {"expected": "red", "given": "no", "count": 20}
    assert document["groupings"][0]["groups"][0]["mistakes"][0] == "57"


def test_pictures_that_look_alike_share_a_cluster() -> None:
    """Four far-apart directions, which k-means must find whatever the seed."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(4, size=200)
    vectors = (10 * np.eye(4, 16)[kinds] + rng.normal(size=(200, 16))).astype(np.float32)
    for seed in range(3):
        labels = cluster(vectors, list(range(200)), seed).labels
        for label in set(labels):
            assert len(set(kinds[labels == label])) == 1


def test_one_picture_has_one_cluster_however_often_it_is_asked_about() -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(3, 5)), 4, axis=0)
    looks = cluster(vectors.astype(np.float32), np.repeat(["a", "b", "c"], 4).tolist())
    assert all(len(set(looks.labels[start : start + 4])) == 1 for start in (0, 4, 8))


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_or_equal_pictures_are_clustered_too(count: int) -> None:
    looks = cluster(np.ones((count, 4), dtype=np.float32), list(range(count)))
    assert len(looks.labels) == count
    assert np.isfinite(looks.distances).all()
