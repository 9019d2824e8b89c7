"""Pictures of a card say in numbers what is to be seen, for those who cannot see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqazoo.card.alt_texts import alt_text
from vqazoo.card.facts import PICTURES, Facts, read_facts
from vqazoo.catalogue import catalogue

MODEL = "tiny-clip-git-easyvqa"


def facts(**changed: bytes) -> Facts:
    """Those of a packaged model, some of its files changed (`log_jsonl` is log.jsonl)."""
    folder = Path(str(catalogue() / MODEL))
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    files |= {name.replace("_", "."): content for name, content in changed.items()}
    return read_facts(files, MODEL, listed=True)


def log(*lines: dict[str, float | None]) -> bytes:
    whole = [{"epoch": n, "stage": 1, "seconds": 1.0, **line} for n, line in enumerate(lines, 1)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in whole)


def test_losses_are_told_from_their_first_epoch_to_the_last() -> None:
    first, middle, last = (
        {"loss": loss, "validation_loss": held, "validation_accuracy": share}
        for loss, held, share in ((2.5, 1.0, 0.25), (9.0, 9.0, 0.5), (0.125, 1.5, 0.75))
    )
    said = alt_text(facts(log_jsonl=log(first, middle, last)), "loss.png")
    assert said == (
        "loss and validation accuracy by epoch: training loss falls from 2.5 to 0.125, validation "
        "loss rises from 1 to 1.5, validation accuracy rises from 25.00% to 75.00%; 3 epochs"
    )


def test_a_line_that_was_not_measured_is_not_told_and_one_epoch_has_no_course() -> None:
    said = alt_text(
        facts(log_jsonl=log({"loss": 2.0, "validation_loss": None, "validation_accuracy": 0.5})),
        "loss.png",
    )
    assert said.endswith(": training loss 2, validation accuracy 50.00%; 1 epoch")
    assert alt_text(facts(log_jsonl=b""), "loss.png") == PICTURES["loss.png"]


@pytest.mark.parametrize(
    ("name", "metric", "form"),
    [
        ("answers.png", "accuracy", "{:.2%} accuracy on all"),
        ("risk-coverage.png", "coverage-at-1-percent-risk", "{:.2%} with 1%"),
        ("calibration.png", "calibration-error", "{:.2%} apart"),
        ("calibration.png", "calibration-error-before", "{:.2%} before calibration"),
    ],
)
def test_scores_are_those_of_the_test_split(name: str, metric: str, form: str) -> None:
    folder = Path(str(catalogue() / MODEL))
    (value,) = (
        one["value"]
        for one in json.loads((folder / "metrics.json").read_bytes())
        if (one["name"], one["split"]) == (metric, "test")
    )
    assert form.format(value) in alt_text(facts(), name)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_which_no_number_is_known_still_says_what_it_shows(name: str) -> None:
    assert alt_text(facts(metrics_json=b"[]", log_jsonl=b""), name) == PICTURES[name]
