"""Cached training speed against an older tree: `python training_speed.py --old PATH`.

One head on stored features of a VizWiz-sized set (random, pooled, 512 wide), each tree in
processes of its own, in turns. Prints questions a second of the best epoch of each, and new by old;
without --old, of this tree alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROWS, EPOCHS, BATCH = 20_523, 4, 256
HEADS: dict[str, dict[str, Any]] = {"mlp": {}, "lstm": {"hidden_dim": 256}}


def write_table(folder: Path, rows: int) -> Path:
    """Few pictures, many questions: nothing but the loop takes time."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(32):
        Image.new("RGB", (64, 64), (number * 7, 0, 0)).save(folder / f"{number}.png")
    lines = ["image,question,answer"]
    lines += [f"{n % 32}.png,what is {n % 997}?,answer {n % 499}" for n in range(rows)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def measure(table: Path, root: Path, head: str) -> float:
    """Questions a second of the best epoch, in this process."""
    from vqazoo.config import run_config
    from vqazoo.training.loop import run_training

    tables = {
        "encoder": "tiny-clip",
        "head": {"type": head, "args": HEADS[head]},
        "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.02},
        "training": {
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "cache": str(root / "cache"),
            "device": "cpu",
        },
    }
    with tempfile.TemporaryDirectory(dir=root) as out, contextlib.redirect_stdout(io.StringIO()):
        run_training(run_config(tables), Path(out) / "run")
        lines = (Path(out) / "run/log.jsonl").read_text().splitlines()
    return max(json.loads(line)["questions_per_second"] for line in lines)


def in_process(tree: Path, table: Path, root: Path, head: str) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", head, "--folder", str(root)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{tree}:{tree / 'plugins'}"},
        cwd=tree,
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, help="a checkout of an older release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=HEADS)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    if chosen.measure:
        print(measure(chosen.folder / "table/table.csv", chosen.folder, chosen.measure))
        return
    new = Path(__file__).parents[2]
    trees = {"new": new} | ({"old": chosen.old.resolve()} if chosen.old else {})
    with tempfile.TemporaryDirectory() as root:
        table = write_table(Path(root) / "table", ROWS)
        for head in HEADS:
            speeds: dict[str, float] = dict.fromkeys(trees, 0.0)
            for _ in range(chosen.rounds):
                for name, tree in trees.items():
                    speed = in_process(tree, table, Path(root), head)
                    speeds[name] = max(speeds[name], speed)
            shown = ", ".join(f"{name} {speed:,.0f}" for name, speed in speeds.items())
            ratio = f", new by old {speeds['new'] / speeds['old']:.3f}" if chosen.old else ""
            print(f"{head}: {shown} questions a second{ratio}", flush=True)


if __name__ == "__main__":
    main()
