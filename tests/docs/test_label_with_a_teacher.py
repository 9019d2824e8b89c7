"""The commands of the page on labels of a teacher, on a table of 72."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from vqazoo.cli import run
from vqazoo.data import open_dataset

PAGE = "docs/how-to/label-with-a-teacher.md"
QUICK = ["--set", "training.epochs=1", "--set", "training.device=cpu"]


@pytest.mark.apart
def test_the_commands_run_one_after_the_other(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(table.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    people = [
        {
            "image": e.image.name,
            "question": e.question,
            "answer": e.answers[0],
            "question_id": f"p{e.question_id}",
        }
        for e in open_dataset("table", {"test": str(table)}).read("test")
    ]
    for name, rows in (("people", people[:36]), ("checked", people[36:])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for block in blocks(PAGE, "sh"):
        for line in block.content.splitlines():
            program, *words = shlex.split(line)
            if program == "cat":
                assert words == ["people.jsonl", "labels.jsonl", ">", "both.jsonl"]
                both = (Path(name).read_text() for name in words[:2])
                Path("both.jsonl").write_text("".join(both))
                continue
            assert program == "vqazoo"
            assert run([*words, *(QUICK if words[0] == "train" else ())]) == 0, words
    assert Path("student-of-both").is_dir()
