"""A student of a teacher's labels beside the same head on labels of people.

    python tests/benchmarks/labelling.py daquar --data-root DIR --seeds 0 1 2
    python tests/benchmarks/labelling.py easy-vqa --seeds 0

Of the training pictures, 5% are for validation; of the others a share (25%) keeps the answers of
people, and a teacher labels the questions about the rest: one that learnt from that share alone
(`own`), and the packaged model, which learnt from all of them (`packaged`). Prints one JSON object
a run: accuracy on the test split.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vqazoo
from vqazoo.cli import run
from vqazoo.data import Example, open_dataset, split_by_image
from vqazoo.zoo.label import label_to_file

HELD_OUT = 0.05  # of the pictures, for validation
DATA: dict[str, dict[str, Any]] = {
    "daquar": {
        "packaged": "effnet-minilm-mlp-daquar",
        "parts": [
            "--image-encoder",
            "efficientnet-lite0",
            "--text-encoder",
            "minilm",
            "--fusion",
            "sum",
            "--head",
            "mlp",
        ],
        "settings": {"epochs": 8, "weight_decay": 0.1, "warmup_epochs": 0.5, "average": 0.99},
    },
    "easy-vqa": {
        "packaged": "tiny-clip-gru-easyvqa",
        "parts": ["--encoder", "tiny-clip", "--head", "mlp"],
        "settings": {"epochs": 8, "weight_decay": 0.01},
    },
}


def table(examples: Sequence[Example], file: Path, answers: bool = True) -> Path:
    """The examples as JSON lines that `table` reads."""
    rows = []
    for e in examples:
        said = {"answer": list(e.answers)} if answers else {}
        rows.append({"image": str(e.image), "question": e.question, "question_id": e.question_id})
        rows[-1] |= said
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def trained(name: str, train: Path, validation: Path, seed: int, cache: str, out: Path) -> str:
    """Train the head of a dataset on a table; the reference of the model."""
    settings = {
        "data.args.validation": str(validation),
        "data.validation_split": "validation",
        "data.answer_rule": "soft",
        "seed": seed,
        "training.device": "cpu",
        "training.learning_rate": 0.001,
        "training.batch_size": 128,
        "training.schedule": "cosine",
        "training.cache": cache,
        **{f"training.{key}": value for key, value in DATA[name]["settings"].items()},
    }
    given = [word for k, v in settings.items() for word in ("--set", f"{k}={json.dumps(v)}")]
    parts = ["train", *DATA[name]["parts"], "--data", str(train), "--out", str(out), *given]
    if run(parts):
        raise SystemExit(f"Training in '{out}' failed.")
    return f"dir:{out}"


def measure(name: str, args: dict[str, str], share: float, seed: int, cache: str) -> None:
    """Train and score all students of one seed."""
    everything = open_dataset(name, args).read("train")
    learnt, held_out = split_by_image(everything, HELD_OUT, 0)
    rest, some = split_by_image(learnt, share, seed)
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing)
        validation = table(held_out, folder / "validation.jsonl")
        people = table(some, folder / "people.jsonl")
        unlabelled = table(rest, folder / "unlabelled.jsonl", answers=False)

        def tell(kind: str, train: Path, **more: Any) -> str:
            start = time.perf_counter()
            model = trained(name, train, validation, seed, cache, folder / f"run-{kind}")
            score = vqazoo.evaluate(
                model, name, "test", data_args=args, wups=False, cache=cache, report=lambda _: None
            )
            said = {"data": name, "seed": seed, "learnt": kind, "of_people": len(some), **more}
            found = score.metric("accuracy")
            said |= {"accuracy": round(100 * found.value, 2), "seconds": 0}
            said["seconds"] = round(time.perf_counter() - start)
            print("RESULT", json.dumps(said), flush=True)
            return model

        own = tell("some people", people)
        for kind, teacher in (("own", own), ("packaged", DATA[name]["packaged"])):
            labels = folder / f"labels-{kind}.jsonl"
            counts = label_to_file(
                teacher,
                labels,
                "table",
                "test",
                data_args={"test": str(unlabelled)},
                cache=cache,
                report=lambda _: None,
            )
            true = {e.question_id: e.answers for e in rest}
            rows = [json.loads(line) for line in labels.read_text().splitlines()]
            right = sum(r["answer"][0]["answer"] in true[r["question_id"]] for r in rows)
            both = folder / f"both-{kind}.jsonl"
            both.write_text(people.read_text() + labels.read_text())
            facts = {"labels": counts.rows, "right": round(100 * right / len(rows), 2)}
            tell(f"some people and {kind} teacher", both, **facts)
        tell(
            "all people",
            table(random.Random(seed).sample(learnt, len(learnt)), folder / "all.jsonl"),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=list(DATA))
    parser.add_argument("--data-root", default="")
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cache", default="")
    given = parser.parse_args()
    args = {"data_root": given.data_root} if given.data_root else {}
    for seed in given.seeds:
        measure(given.data, args, given.share, seed, given.cache)


if __name__ == "__main__":
    main()
