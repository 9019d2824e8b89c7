"""How many rows a second `vqazoo predict` answers, and how much memory it takes for few and many.

    python tests/benchmarks/predicting.py --rows 20000 --model tiny-clip-lstm-easyvqa --ray 2

A table of five questions about each of many drawn pictures is answered by processes of their own:
a tenth of the rows and all of them, into parquet; all of them from cached features; a tenth in
memory by `model.predict`; with `--ray`, all of them by that many actors. Prints rows a second (with
and without start and loading, which a run of one part tells) and the largest resident memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from vqazoo_tiny_clip.render import draw_scene

QUESTIONS = (
    "what shape is it?",
    "which color is the shape?",
    "is there a circle?",
    "are there several?",
    "is it red?",
)
# Runs what it is given, and prints the seconds and the largest memory of it and its children.
MEASURED = """
import json, resource, sys, time
start = time.perf_counter()
exec(sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.perf_counter() - start, used]))
"""
VERB = "from vqazoo.cli import run; assert run(sys.argv[2:]) == 0"
IN_MEMORY = """
import csv, vqazoo
from pathlib import Path
model, file = vqazoo.load(sys.argv[2]), Path(sys.argv[3])
rows = [{"image": file.parent / row["image"], "question": row["question"]}
        for row in csv.DictReader(open(file, newline=""))]
model.predict(rows)
"""


def measured(work: str, *arguments: object) -> tuple[float, float]:
    """Seconds, and MiB of memory at most."""
    child = subprocess.run(
        [sys.executable, "-c", MEASURED, work, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, memory = json.loads(child.stdout.splitlines()[-1])
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--model", default="tiny-clip-lstm-easyvqa")
    parser.add_argument("--ray", type=int, default=0, help="actors")
    options = parser.parse_args()
    print(
        f"{datetime.now(UTC).date()}, {options.model}, torch {version('torch')}, "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), random.Random(0)
        os.environ["VQAZOO_CACHE"] = str(folder / "cache")
        sizes = (len(QUESTIONS), options.rows // 10, options.rows)
        tables = [folder / f"{size}.csv" for size in sizes]
        for number in range(options.rows // len(QUESTIONS)):
            draw_scene(rng).paint().save(folder / f"{number}.png")
        for table, size in zip(tables, sizes, strict=True):
            with open(table, "w", newline="") as handle:
                writer = csv.writer(handle)
                writer.writerow(("image", "question"))
                for row in range(size):
                    number, asked = divmod(row, len(QUESTIONS))
                    writer.writerow((f"{number}.png", QUESTIONS[asked]))

        def predict(table: Path, *more: object) -> tuple[float, float]:
            out = folder / "answers.parquet"
            out.unlink(missing_ok=True)
            data = ("--data", "table", "--set", f"test={table}", "--device", "cpu")
            return measured(VERB, "predict", options.model, *data, "--out", out, *more)

        def show(what: str, rows: int, took: tuple[float, float], start: float) -> None:
            seconds, memory = took
            inside = rows / max(seconds - start, 0.1)
            print(
                f"{what:18} {rows:9,} rows {seconds:7.1f} s, of which start {start:5.1f} s: "
                f"{rows / seconds:8.1f} rows/s, {inside:8.1f} after it, {memory:6.0f} MiB"
            )

        few, some, many = tables
        start, _ = predict(few)
        show("predict", sizes[1], predict(some), start)
        show("predict", sizes[2], predict(many), start)
        start, _ = measured(IN_MEMORY, options.model, few)
        show("in memory", sizes[1], measured(IN_MEMORY, options.model, some), start)
        if options.ray:
            ray = ("--engine", "ray", "--workers", options.ray)
            start, _ = predict(few, *ray)
            show(f"predict, {options.ray} actors", sizes[2], predict(many, *ray), start)
        asked = ("--data", "table", "--set", f"test={many}", "--device", "cpu")
        measured(VERB, "eval", options.model, *asked, "--out", folder / "scores")
        start, _ = predict(few)
        show("predict, cached", sizes[2], predict(many), start)


if __name__ == "__main__":
    main()
