"""GQA's consistency, validity, plausibility, distribution, by hand as its eval.py does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.metrics.asked import example, measured
from vqazoo.errors import DataError
from vqazoo.testing import check_metric


def record(answer: str, entailed: list[str], group: str | None, **more: Any) -> dict[str, Any]:
    return {
        "answer": answer,
        "isBalanced": True,
        "entailed": entailed,
        "groups": {"global": group, "local": None},
        "types": {"structural": "query", "semantic": "attr", "detailed": "directOf"},
        **more,
    }


@pytest.fixture(name="official")
def official_files(tmp_path: Path) -> dict[str, str]:
    questions = {
        "1": record("red", ["1", "2", "3"], "color"),
        "2": record("yes", ["1"], None, isBalanced=False),
        "3": record("yes", [], None),
        "4": record("blue", ["3"], "color"),
        "5": record("color", [], "color", types={"detailed": "twoCommon"}),
    }
    choices = {
        "1": {"valid": ["red", "blue"], "plausible": ["red"]},
        "3": {"valid": ["yes", "no"], "plausible": ["yes", "no"]},
        "4": {"valid": ["red", "blue"], "plausible": ["blue"]},
        "5": {"valid": [], "plausible": []},
    }
    files = {}
    for name, table in (("questions", questions), ("choices", choices)):
        file = tmp_path / f"val_{name}.json"
        file.write_text(json.dumps(table))
        files[name] = str(file)
    return files


ROWS = [
    (example(1, "red", id="1"), "red"),
    (example(2, "yes", id="2"), "no"),
    (example(3, "yes", id="3"), "yes"),
    (example(4, "blue", id="4"), "red"),
    (example(5, "color", id="5"), "shape"),
]


def test_consistency_is_of_what_follows_from_right_answers(official: dict[str, str]) -> None:
    """1 is right, of 2 and 3 one is; 2 is not balanced; nothing follows from 3; 4 is wrong."""
    assert measured("gqa-consistency", ROWS, questions=official["questions"]) == {"": 0.5}


def test_consistency_needs_answers_to_all_questions(official: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"but 2 are not in the split: answer a split of all"):
        measured("gqa-consistency", [ROWS[0], ROWS[2]], questions=official["questions"])


def test_the_distribution_is_a_hundredth_of_chi_square(official: dict[str, str]) -> None:
    """True: red 1, blue 1, color 1; given: red 2, shape 1. (1 + 1 + 1) / 100."""
    told = measured("gqa-distribution", ROWS, questions=official["questions"])
    assert told == {"": pytest.approx(0.03)}


def test_validity_and_plausibility_come_from_the_choices(official: dict[str, str]) -> None:
    """Of 1, 3, 4 and 5 all are valid, 5 since it asks for what is common; 4 is not plausible."""
    told = measured("gqa-choices", ROWS, **official)
    assert told == {"gqa-validity": 1.0, "gqa-plausibility": 0.75}


def test_they_keep_the_contract(official: dict[str, str]) -> None:
    asked = [each for each, _ in ROWS], [given for _, given in ROWS]
    for name in ("gqa-consistency", "gqa-distribution"):
        check_metric(name, examples=asked[0], answers=asked[1], questions=official["questions"])
    check_metric("gqa-choices", examples=asked[0], answers=asked[1], **official)


def test_what_is_missing_is_named(official: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs the official file of questions, but none is named"):
        measured("gqa-consistency", ROWS)
    with pytest.raises(DataError, match=r"official file of choices, .*choices=FOLDER/val_choices"):
        measured("gqa-choices", ROWS, questions=official["questions"])
    with pytest.raises(DataError, match=r"lacks 1 questions of the split \(9\)"):
        measured(
            "gqa-distribution", [(example(0, "x", id="9"), "x")], questions=official["questions"]
        )
    short = tmp_path / "short.json"
    short.write_text(json.dumps({"1": {"answer": "red"}}))
    with pytest.raises(DataError, match=r"question '1': there is no 'groups\.global'"):
        measured("gqa-distribution", ROWS[:1], questions=str(short))
    short.write_text("[1]")
    with pytest.raises(DataError, match="is no JSON object of objects"):
        measured("gqa-distribution", ROWS[:1], questions=str(short))
