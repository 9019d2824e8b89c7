"""`vqazoo errors` of a model that reads pictures as they are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from tests.plugins.vlm.tiny import MADE
from vqazoo.cli.errors import errors
from vqazoo.evaluation import answer_parts
from vqazoo.evaluation.mistakes import search

SHORT = ["--decode", "max_tokens=2"]
START = ("what", "where")


def questions(folder: Path) -> Path:
    rows = [("image", "question", "answer", "question_id")]
    for number in range(20):
        size = (40 + number % 3 * 8, 48)
        Image.new("RGB", size, (12 * number, 60, 90)).save(folder / f"{number}.png")
        rows.append((f"{number}.png", f"{START[number % 2]} is it?", "nothing", f"q{number}"))
    with open(folder / "questions.csv", "w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return folder / "questions.csv"


def test_its_mistakes_are_grouped_by_all_but_looks_and_kept_as_others(tmp_path, monkeypatch):
    model, table = MADE["llava"](tmp_path / "llava"), questions(tmp_path)
    data = [f"dir:{model}", "--data", "table", "--set", f"test={table}", "--device", "cpu", *SHORT]
    monkeypatch.setattr(answer_parts, "PART_ROWS", 16)
    real = search.answer_features

    def stopped_at_the_second_part(*given, **more):
        if given[3]:
            raise KeyboardInterrupt
        return real(*given, **more)

    page = [*data, "--out", str(tmp_path / "page.html"), "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(search, "answer_features", stopped_at_the_second_part)
        assert CliRunner().invoke(errors, page).exit_code == 130
    result = CliRunner().invoke(errors, page)
    assert result.exit_code == 0, result.output
    assert "1 parts were answered before" in result.stderr
    assert "Pictures that look alike are not grouped" in result.stderr
    document = json.loads(result.stdout)
    titles = [grouping["title"] for grouping in document["groupings"]]
    assert "Type of question" in titles
    assert "Pictures that look alike" not in titles
    assert document["questions"] == document["mistakes"] == 20
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<img") > 3
