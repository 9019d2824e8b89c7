"""The commands of the page on encoding on many machines, on a small table and two shares."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks, run

PAGE = "docs/how-to/encode-on-many-machines.md"
OWN = "--data table --set data.args.train=questions.csv"


def commands() -> Iterator[str]:
    for block in blocks(PAGE, "sh"):
        for line in block.content.splitlines():
            if line.startswith("vqazoo "):
                yield line.removeprefix("vqazoo ").replace("--data easy-vqa", OWN)


@pytest.mark.apart
def test_shares_are_merged_and_nothing_is_left_for_a_cluster(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    shutil.copytree(table.parent, tmp_path, dirs_exist_ok=True)
    share, merge, by_ray = commands()
    shares = [
        share.replace("--shards 8 --shard 0", f"--shards 2 --shard {number}").replace(
            "shared/features", f"copies/machine-{number}"
        )
        for number in (0, 1)
    ]
    told = []
    for command in (*shares, merge, by_ray):
        assert "--shards 8" not in command
        words = shlex.split(command)
        done = run("-c", "from vqazoo.cli import main; main()", *words, cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        told.append(done.stdout + done.stderr)
    first, second, merged, ray = told
    assert "rows were encoded now" in first
    assert "there was nothing to encode" in second  # the table is less than a batch
    assert "rows" in merged
    assert "nothing" in ray.lower() or "are cached" in ray
    assert "Encoding" not in ray
