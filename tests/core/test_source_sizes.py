"""Source files stay short, and the formatter lays them out."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for folder in ("vqazoo", "plugins") for file in (ROOT / folder).rglob("*.py"))
LINES = 350  # a source file has fewer
SKIPS = 30  # fewer places that the formatter must leave alone, tests included


def test_no_source_file_is_long() -> None:
    assert SOURCES
    long = [
        file.relative_to(ROOT).as_posix()
        for file in SOURCES
        if len(file.read_text(encoding="utf-8").splitlines()) >= LINES
    ]
    assert not long


def test_the_formatter_lays_out_sources_and_tests() -> None:
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    skips = sum(file.read_text(encoding="utf-8").count("# " + "fmt: skip") for file in files)
    assert skips < SKIPS
