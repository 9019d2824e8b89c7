"""The section of a card that says what its score rests on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.made_cards import METRICS, NAME, contents, metric, section
from vqazoo.card import front_matter, merge, refresh, render_card
from vqazoo.card.facts import read_facts
from vqazoo.card.prose import sections
from vqazoo.evaluation.metric import Metric


def check(kind: str, value: float, difference: float | None = None, end: str = "") -> Metric:
    found = metric(f"check-{kind}-accuracy", value, 60, interval=(value - 0.1, value), end=end)
    if difference is None:
        return found
    return replace(
        found, difference=difference, difference_interval=(difference - 0.1, 0.0), p_value=0.0004
    )


CHECKS = [
    check("plain", 0.8),
    check("constant-answer", 0.3),
    check("blank-pictures", 0.5, -0.3),
    check("noise-3", 0.45, -0.35),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder whose card was made before anything was checked."""
    for name, content in contents().items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "README.md").write_text(render_card(contents(), NAME))
    return tmp_path


def test_a_card_without_checks_is_as_before() -> None:
    assert "What the score rests on" not in render_card(contents(), NAME)


def test_one_sentence_says_what_is_scored_without_pictures() -> None:
    card = render_card(contents(metrics=[*METRICS, *CHECKS]), NAME)
    said = section(card, "checks")
    assert "On blank pictures it scores 50.00% accuracy instead of 80.00%" in said
    assert "always giving the most frequent training answer scores 30.00%: so much needs" in said
    assert "`check-blank-pictures-accuracy\\|v1" not in said, "no bar is escaped outside of a table"
    row = "| blank pictures | 50.00% | 40.00% to 50.00% | 60 | -30.00 | -40.00 to +0.00 | below"
    assert row in said
    assert "| noisy, strength 3 | 45.00% |" in said
    for other in ("metrics", "types", "summary"):
        assert "check-" not in section(card, other)


def test_the_picture_is_told_in_words() -> None:
    files = contents(metrics=[*METRICS, *CHECKS]) | {"checks.png": b""}
    said = section(render_card(files, NAME), "checks")
    assert (
        "![scores of changed questions and pictures: unchanged 80%, blank pictures 50%, strongest "
        "noise 45%](checks.png)" in said
    )


def test_results_for_the_hub_are_of_unchanged_pictures() -> None:
    facts = read_facts(contents(metrics=[*METRICS, *CHECKS]), NAME, False)
    named = json.dumps(front_matter(facts))
    assert "check-" not in named
    assert '"bleu-1"' in named


def test_the_first_checks_bring_the_section_and_later_ones_replace_them(folder: Path) -> None:
    refresh(folder, CHECKS)
    card = (folder / "README.md").read_text()
    order = sections(card)
    assert order.index("checks") == order.index("metrics") + 1
    assert card.index("## What the score rests on") < card.index("## Results by type")
    fewer = [check("plain", 0.7, end="|rows:20"), check("blank-pictures", 0.6, -0.1, "|rows:20")]
    refresh(folder, fewer)
    names = [m["name"] for m in json.loads((folder / "metrics.json").read_bytes())]
    assert [name for name in names if name.startswith("check-")] == [m.name for m in fewer]
    assert len(names) == len(METRICS) + 2
    assert "scores 60.00% accuracy instead of 70.00%" in (folder / "README.md").read_text()


def test_a_section_that_somebody_deleted_stays_deleted(folder: Path) -> None:
    refresh(folder, CHECKS)
    card = (folder / "README.md").read_text()
    start = card.index("## What the score rests on")
    (folder / "README.md").write_text(card[:start] + card[card.index("## Results by type") :])
    refresh(folder, [check("plain", 0.7)])
    assert "What the score rests on" not in (folder / "README.md").read_text()


def test_a_new_section_without_a_later_one_comes_last() -> None:
    fresh = render_card(contents(metrics=[*METRICS, *CHECKS]), NAME)
    edited = "# Mine\n\n<!-- vqazoo:summary -->\nold\n<!-- /vqazoo:summary -->\n\nMy words.\n"
    merged = merge(edited, fresh, ("checks",))
    assert merged.index("My words.") < merged.index("## What the score rests on")
    assert "checks" not in sections(merge(edited, fresh))


def test_parts_of_the_questions_show_their_intervals() -> None:
    parts = [replace(m, interval=(0.1, 0.95)) if "=" in m.name else m for m in METRICS]
    card = render_card(contents(metrics=parts), NAME)
    assert "| answer type | accuracy | 95% interval | questions |" in section(card, "types")
    assert "| colour | 90.00% | 10.00% to 95.00% | 120 |" in section(card, "types")
    assert "| 10 to 99 times | 43.75% | 10.00% to 95.00% | 190 |" in section(card, "failures")
    shown = [replace(METRICS[1], smallest_difference=0.025), *METRICS[2:]]
    said = section(render_card(contents(metrics=shown), NAME), "metrics")
    assert "| 75.00% to 87.50% | 2.50% | 200 |" in said
    assert "can show: the smallest difference" in said
