"""Answers that are looked up: votes by hand, one's own place, the bound, resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import vqazoo
from tests.support.toy import example, make_head
from vqazoo.cli import run
from vqazoo.errors import TrainingError
from vqazoo.interfaces import Features

TEXTS = ("yes", "no", "blue")
TAUGHT = ("yes", "yes", "no", "blue", "no")


def vectors(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))


def taught(neighbours: int = 3, places: int = 8):  # type: ignore[no-untyped-def]
    head = make_head("nearest-questions", TEXTS, neighbours=neighbours, places=places)
    head.train()
    head.loss(Features(vectors(5, 0)), head.targets([example(text) for text in TAUGHT]))
    return head.eval()


def by_hand(asked: torch.Tensor, own: int | None = None) -> dict[str, float]:
    """The three nearest of the taught questions, their softmax, 1% of how often answers were."""
    cosines = [
        (F.cosine_similarity(asked, key, dim=0).item(), text)
        for place, (key, text) in enumerate(zip(vectors(5, 0), TAUGHT, strict=True))
        if place != own
    ]
    best = sorted(cosines, reverse=True)[:3]
    weights = torch.tensor([20 * cosine for cosine, _ in best]).softmax(dim=0).tolist()
    head = make_head("nearest-questions", TEXTS)
    often = [count + 1 for count in head.answers.counts]
    shares = {t: 0.01 * c / sum(often) for t, c in zip(TEXTS, often, strict=True)}
    for weight, (_, text) in zip(weights, best, strict=True):
        shares[text] += 0.99 * weight
    return shares


def test_the_votes_of_the_nearest_are_those_worked_out_by_hand() -> None:
    head, asked = taught(), vectors(4, 1)
    for row, (first, *others) in enumerate(head.predict(Features(asked), top_k=3)):
        expected = by_hand(asked[row])
        assert first.text == max(expected, key=lambda text: expected[text])
        for answer in (first, *others):
            assert answer.score == pytest.approx(expected[answer.text], abs=1e-5)


def test_the_loss_leaves_the_questions_own_place_out_and_a_second_epoch_keeps_the_memory() -> None:
    head = taught()
    before = head.keys.clone()
    head.train()
    loss, _ = head.loss(Features(vectors(5, 0)), head.targets([example(text) for text in TAUGHT]))
    expected = [-torch.tensor(by_hand(vectors(5, 0)[n], n)[t]).log() for n, t in enumerate(TAUGHT)]
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-4)
    assert torch.equal(head.keys, before)


def test_of_more_questions_than_places_some_at_even_distances_are_kept() -> None:
    head = make_head("nearest-questions", TEXTS, places=3)
    places = head.targets([example("yes")] * 9)["place"].tolist()
    assert [row for row, place in enumerate(places) if place >= 0] == [0, 4, 8]
    assert sorted(place for place in places if place >= 0) == [0, 1, 2]
    assert head.keys.shape == (3, 16)


def test_questions_of_unknown_answers_are_not_kept() -> None:
    head = make_head("nearest-questions", TEXTS, places=4)
    head.train()
    unknown = replace(example("yes"), targets=(("zebra", 1.0),))
    head.loss(Features(vectors(2, 0)), head.targets([unknown, example("no")]))
    assert (head.classes >= 0).tolist() == [False, True, False, False]


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    head = make_head("nearest-questions", TEXTS).train()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(TrainingError, match="use one process"):
        head.loss(Features(vectors(1, 0)), head.targets([example("no")]))


def test_a_trained_checkpoint_holds_the_questions(table: Path, tmp_path: Path) -> None:
    flags = ["--set", "training.epochs=1", "--set", "training.device=cpu"]
    sizes = ["--set", "head.args.places=100", "--set", "head.args.neighbours=4"]
    parts = ["--encoder", "tiny-clip", "--head", "nearest-questions", "--data", str(table)]
    assert run(["train", *parts, *flags, *sizes, "--out", str(tmp_path / "run")]) == 0
    model = vqazoo.load(f"dir:{tmp_path / 'run'}")
    assert 60 < int((model.head.classes >= 0).sum()) < 72  # all but those of validation
