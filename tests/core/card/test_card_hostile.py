"""Names of strangers in a folder's files stay texts on the card."""

from __future__ import annotations

import re

import pytest

from tests.support.made_cards import METRICS, NAME, contents, metric
from vqazoo.card import render_card
from vqazoo.card.prose import split_front

EVIL = "<img src=x onerror=alert(1)> ` | {{ 7 * 7 }}"


@pytest.mark.parametrize(
    "name",
    [
        f"accuracy/answer-type={EVIL}",
        f"accuracy/{EVIL}=yes",
        f"{EVIL}/answer-type=yes",
        f"unanswerable-share-{EVIL}",
    ],
)
def test_a_metric_of_any_name_brings_no_markup(name: str) -> None:
    more = [metric(f"{name}{number or ''}", 0.1, 200) for number in range(15)]
    _, card = split_front(render_card(contents(metrics=[*METRICS, *more]), NAME))
    assert "{{ 7 * 7 }}" in card
    outside = re.sub(r"`[^`\n]*`", "", card)  # code shows markup as it is
    assert "<img" not in outside


def test_a_split_of_any_name_brings_no_markup() -> None:
    _, card = split_front(render_card(contents(metrics=[metric("accuracy", 0.5, 200, EVIL)]), NAME))
    assert "<img" not in re.sub(r"`[^`\n]*`", "", card)
