"""The commands of the page on a million rows, on a table of 72."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks, run

PAGE = "docs/how-to/many-rows.md"


def commands() -> Iterator[list[str]]:
    for block in blocks(PAGE, "sh"):
        for line in block.content.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line)
            assert program == "vqazoo"
            yield words


@pytest.mark.apart
def test_the_commands_run_one_after_the_other(table: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("ray")
    shutil.copytree(table.parent, tmp_path, dirs_exist_ok=True)
    for words in commands():
        done = run("-c", "from vqazoo.cli import main; main()", *words, cwd=tmp_path)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    answered, by_ray = (
        parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        for name in ("answers", "by-ray")
    )
    assert len(answered) == 72
    for record, other in zip(answered, by_ray, strict=True):
        assert record.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
        assert record == other
    assert (tmp_path / "written.csv").read_text().count("\n") == 73
