"""Writes the labels from which `effnet-ngrams-mlp-daquar` learns, beside the training questions.

    python tests/benchmarks/distil_daquar.py --data-root DIR --out OUT
    vqazoo train --config model_cards/effnet-ngrams-mlp-daquar/recipe.toml --data-root DIR \
      --set data.labels=OUT/labels.jsonl --out RUN

Three teachers learn the training questions, without the pictures that seed 0 holds out. Each labels
every one of these questions three times: beside its own picture and beside two other training
pictures, about which nobody asked it. The questions with people's answers follow, twice, so
that with those of the dataset itself a quarter of what the student learns is of people. What is
already in OUT is not made again. No test question is read. The labels of the packaged model were
made by these steps one after the other; this file as a whole has not run from end to end.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vqazoo.cli import run
from vqazoo.data import Example, open_dataset, split_by_image

RECIPE = Path(__file__).parents[2] / "model_cards/effnet-ngrams-mlp-daquar/recipe.toml"
TEACHERS, OTHER_PICTURES, REPEATS, KEPT = 3, 2, 2, 10
OF_A_TEACHER = {  # where it differs from the student's recipe
    "data.type": "table",
    "data.validation_split": "validation",
    "data.labels": "",
    "data.answer_rule": "most-frequent",
    "head.args.dropout": 0.5,
    "training.epochs": 8,
    "training.warmup_epochs": 0.5,
    "training.device": "cpu",
}


def row(example: Example, number: str, image: Path | None = None) -> dict[str, Any]:
    """A question as `table` reads it: about its own picture with its answer, or about another."""
    asked = {"image": str(image or example.image), "question": example.question}
    said = {} if image else {"answer": example.answers[0]}
    return {**asked, "question_id": number, **said}


def write(rows: Iterable[dict[str, Any]], file: Path) -> Path:
    """One row a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def call(*words: str) -> None:
    """A command of the zoo, which must succeed."""
    if run(list(words)):
        raise SystemExit(f"'vqazoo {words[0]}' failed: it says why above.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    out: Path = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    everything = open_dataset("daquar", {"data_root": given.data_root}).read("train")
    learnt, held_out = split_by_image(everything, 0.05, 0)
    people = write((row(e, f"p{i}") for i, e in enumerate(learnt)), out / "people.jsonl")
    checked = write((row(e, f"v{i}") for i, e in enumerate(held_out)), out / "validation.jsonl")
    pictures, draw = sorted({e.image for e in learnt}), random.Random(0)
    parts = []
    for seed in range(TEACHERS):
        teacher, labels = out / f"teacher{seed}", out / f"labels{seed}.jsonl"
        own = [row(e, f"o{seed}.{i}", e.image) for i, e in enumerate(learnt)]
        others = [
            row(e, f"x{seed}.{k}.{i}", draw.choice(pictures))
            for k in range(OTHER_PICTURES)
            for i, e in enumerate(learnt)
        ]
        asked = write(own + others, out / f"asked{seed}.jsonl")
        if not (teacher / "best").is_dir():
            args = {"data.args": {"train": str(people), "validation": str(checked)}}
            settings = [f"{k}={json.dumps(v)}" for k, v in {**OF_A_TEACHER, **args}.items()]
            named = [word for setting in settings for word in ("--set", setting)]
            call(
                "train", "--config", str(RECIPE), "--seed", f"{seed}", "--out", f"{teacher}", *named
            )
        if not labels.is_file():
            taught = ["--teacher", f"dir:{teacher / 'best'}", "--data", str(asked)]
            call("label", *taught, "--top-k", f"{KEPT}", "--uncalibrated", "--out", str(labels))
        parts.append(labels.read_text())
    again = [row(e, f"{k}p{i}") for k in range(REPEATS) for i, e in enumerate(learnt)]
    parts.append(write(again, out / "repeated.jsonl").read_text())
    (out / "labels.jsonl").write_text("".join(parts))


if __name__ == "__main__":
    main()
