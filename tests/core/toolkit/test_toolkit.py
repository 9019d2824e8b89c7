"""What authors of parts build with lies in one place, and is light until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vqazoo.toolkit
from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import Features
from vqazoo.toolkit import UNKNOWN, ClassHead, class_targets, ranked_scores, ranked_texts

ANSWERS = AnswerList(("yes", "no", "blue"), (6, 2, 1))


class Pooled(ClassHead):
    """Scores of answers are the fused vector itself."""

    def __init__(self, balance: float = 0.0) -> None:
        super().__init__(ANSWERS, balance)

    def logits(self, fused: Features) -> Tensor:
        return fused.pooled


def examples(*answers: str) -> list[Example]:
    return [
        Example(Path("a.png"), "?", (answer,), "1", targets=((answer, 1.0),)) for answer in answers
    ]


def test_every_name_of_the_toolkit_is_there() -> None:
    for name in vqazoo.toolkit.__all__:
        assert getattr(vqazoo.toolkit, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = vqazoo.toolkit.nothing


def test_importing_the_toolkit_does_not_import_torch() -> None:
    code = "import sys, vqazoo.toolkit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_class_head_needs_no_more_than_logits() -> None:
    head = Pooled()
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
    targets = head.targets(examples("no", "blue", "green"))
    loss, parts = head.loss(Features(logits), targets)
    expected = nn.functional.cross_entropy(logits[:2], torch.tensor([1, 2]))  # green is unknown
    assert targets["answer"][2].tolist() == [UNKNOWN]
    assert torch.allclose(loss, expected)
    assert parts == {}
    best = head.predict(Features(logits), top_k=2)
    assert [[one.text for one in row] for row in best[:2]] == [["yes", "no"], ["no", "blue"]]
    assert best[0][0].score == pytest.approx(logits[0].softmax(0)[0].item())


def test_a_balanced_class_head_weighs_rare_answers_as_cross_entropy_with_weights() -> None:
    head = Pooled(balance=1.0)
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    loss, _ = head.loss(Features(logits), head.targets(examples("yes", "blue")))
    weight = torch.tensor([3 / 6, 3 / 2, 3 / 1])
    expected = nn.functional.cross_entropy(logits, torch.tensor([0, 2]), weight=weight)
    assert torch.allclose(loss, expected)
    assert not head.state_dict()  # weights are counted anew from the answers


def test_ranked_scores_keep_what_each_answer_got() -> None:
    best = ranked_scores(ANSWERS, torch.tensor([[0.5, 0.25, 0.75]]), 5)
    expected = [("blue", 0.75), ("yes", 0.5), ("no", 0.25)]
    assert [(one.text, one.score) for one in best[0]] == expected


def test_class_targets_keep_weights_of_classes_that_stand_by_themselves() -> None:
    rows = [
        Example(
            Path("a.png"), "?", ("x",), "1", targets=(("zebra", 0.6), ("no", 0.6), ("yes", 0.3))
        )
    ]
    shared = class_targets(ANSWERS, rows)
    assert shared["answer"].tolist() == [[1, 0, UNKNOWN]]
    assert shared["weight"][0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    apart = class_targets(ANSWERS, rows, {"no": 2, "yes": 2}, shared=False)
    assert apart["answer"].tolist() == [[2, 2, UNKNOWN]]
    assert apart["weight"][0].tolist() == pytest.approx([0.6, 0.3, 0])


def test_ranked_texts_make_probabilities_of_logarithms() -> None:
    scores = torch.tensor([[0.25, 0.5]]).log()
    best = ranked_texts("ab".__getitem__, scores, 9, logarithms=True)
    assert [(one.text, one.score) for one in best[0]] == [
        ("b", pytest.approx(0.5)),
        ("a", pytest.approx(0.25)),
    ]
