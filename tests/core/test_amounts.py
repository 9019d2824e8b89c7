"""Sizes, counts, shares and times are said in one way, by one module."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from vqazoo.amounts import count, duration, in_bytes, percent, size

ROOT = Path(__file__).parents[2]
UNIT = re.compile(r" ?([kMGT]i?B|bytes|ms|s|seconds|minutes|hours)\b")
# Amounts that are said in another way, and why.
OTHERS = {
    "vqazoo/media/video.py": "places in a video, to a tenth of a second, are compared",
    "vqazoo/features": "to be taken over with the split of encoding.py",
}


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (100_000, "0.1 MB"),
        (1_830_000, "1.8 MB"),
        (999_940_000, "999.9 MB"),
        (1_000_000_000, "1.0 GB"),
        (1_234_560_000_000, "1,234.6 GB"),
    ],
)
def test_a_size_is_in_the_unit_that_fits(number: int, told: str) -> None:
    assert size(number) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 seconds"),
        (0.1234, "0.123 seconds"),
        (1, "1 second"),
        (119.9, "120 seconds"),
        (120, "2 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (3_596_000, "999 hours"),
        (3_600_000 * 1.5, "1,500 hours"),
    ],
)
def test_a_time_is_in_the_unit_that_fits(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_counts_bytes_and_shares() -> None:
    assert (count(1234567), count(0)) == ("1,234,567", "0")
    assert (in_bytes(20971520), in_bytes(1)) == ("20,971,520 bytes", "1 byte")
    assert (percent(0.123456), percent(1, 0), percent(0.5, 1)) == ("12.35%", "100%", "50.0%")


def by_hand(file: Path) -> list[str]:
    """Texts of a file that put a unit behind a number, or a number alone into a form of ours."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        parts = node.values
        for before, after in pairwise(parts):
            if isinstance(before, ast.FormattedValue) and isinstance(after, ast.Constant):
                formatted = before.format_spec is not None
                if formatted and UNIT.match(str(after.value)):
                    found.append(ast.unparse(node))
        if len(parts) == 1 and isinstance(parts[0], ast.FormattedValue):
            spec = parts[0].format_spec
            if spec is not None and re.fullmatch(r"f'(,|\.\d%)'", ast.unparse(spec)):
                found.append(ast.unparse(node))
    return found


def test_no_other_module_writes_amounts_by_hand() -> None:
    for folder in ("vqazoo", "plugins"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            place = file.relative_to(ROOT).as_posix()
            if place != "vqazoo/amounts.py" and not place.startswith(tuple(OTHERS)):
                assert by_hand(file) == [], place


def test_the_search_finds_amounts_that_are_written_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    for text in ("{a / 1e6:.1f} MB", "{a:,} bytes", "{a:g} seconds", "{a:,}", "{a:.1%}"):
        file.write_text(f'f"{text}"\n')
        assert by_hand(file), text
    file.write_text('f"{a:,} questions, {b:.1%} right"\n')
    assert not by_hand(file)
