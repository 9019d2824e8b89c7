"""Time and peak memory as the data grows: run `python tests/benchmarks/scaling.py`.

1. A generated VizWiz-sized set (20,523 questions, ten answers each) at 1, 4 and 16 times a
   sixteenth of its rows: reading, selecting answers, building the question cache with tiny-clip,
   and one epoch of a classifier from the mapped cache. Each size in a process of its own.
2. A generated VQA v2-sized set: 443,757 questions about 82,783 pictures, text and stored features
   (random, pooled, 512 wide) only: reading, answers, targets, and one epoch.

Prints seconds and peak memory; time should grow with the rows, memory of building hardly at all.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VIZWIZ, VQA_QUESTIONS, VQA_IMAGES = 20_523, 443_757, 82_783
WORDS = 4000


def words(rng: random.Random, count: int) -> str:
    """Words of Zipf-like frequency."""
    return " ".join(f"w{int(WORDS ** rng.random())}" for _ in range(count))


def ten_answers(rng: random.Random) -> list[dict[str, Any]]:
    usual = words(rng, 1 + int(rng.random() < 0.2))
    return [
        {
            "answer": usual if rng.random() < 0.7 else words(rng, 1),
            "answer_confidence": "yes",
            "answer_id": number,
        }
        for number in range(1, 11)
    ]


def write_vizwiz(folder: Path, rows: int) -> None:
    rng = random.Random(0)
    records = [
        {
            "image": f"VizWiz_train_{number:08d}.jpg",
            "question": f"what is {words(rng, 5)}?",
            "answers": ten_answers(rng),
            "answer_type": "other",
            "answerable": 1,
        }
        for number in range(rows)
    ]
    (folder / "train.json").write_text(json.dumps(records))


def write_vqa(folder: Path, questions: int, images: int) -> None:
    rng = random.Random(0)
    name = "v2_OpenEnded_mscoco_train2014_questions.json"
    with (
        open(folder / name, "w") as asked,
        open(folder / "v2_mscoco_train2014_annotations.json", "w") as noted,
    ):
        asked.write('{"questions": [')
        noted.write('{"annotations": [')
        for number in range(questions):
            comma = ", " if number else ""
            image = number % images
            asked.write(
                comma
                + json.dumps(
                    {"image_id": image, "question": f"what {words(rng, 4)}?", "question_id": number}
                )
            )
            noted.write(
                comma
                + json.dumps(
                    {
                        "question_id": number,
                        "image_id": image,
                        "answers": ten_answers(rng),
                        "question_type": "what",
                        "answer_type": "other",
                        "multiple_choice_answer": "",
                    }
                )
            )
        asked.write("]}")
        noted.write("]}")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_vizwiz(folder: Path) -> dict[str, Any]:
    """One size, in this process."""
    import torch

    import vqazoo
    from vqazoo.data import open_dataset
    from vqazoo.data.answers import MOST_FREQUENT, AnswerList, apply_rule
    from vqazoo.features.filling import build_questions

    warm = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["yes"])
    build_questions(warm, ["warm up?"], lambda s, _: iter(s), folder / "warm", verify=0)
    base = peak_megabytes()
    start = time.perf_counter()
    examples = open_dataset("vizwiz", {"data_root": str(folder)}).read("train")
    examples = apply_rule(MOST_FREQUENT, examples, 0)
    read = time.perf_counter()
    after_reading = peak_megabytes()
    questions = [example.question for example in examples]
    mapped = build_questions(warm, questions, lambda s, _: iter(s), folder / "cache", verify=0)
    built = time.perf_counter()
    after_building = peak_megabytes()
    answers = AnswerList.from_training([e.target for e in examples], 3000)
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=answers.texts)
    targets = model.head.targets(examples)["answer"]
    for rows in torch.randperm(len(examples)).split(256):
        mapped.batch(rows)
        targets[rows]
    done = time.perf_counter()
    return {
        "rows": len(examples),
        "read": read - start,
        "build": built - read,
        "epoch": done - built,
        "reading_mb": after_reading - base,
        "building_mb": after_building - after_reading,
        "peak_mb": peak_megabytes(),
    }


def measure_vqa(folder: Path) -> dict[str, Any]:
    import torch

    from vqazoo.data import open_dataset
    from vqazoo.data.answers import MOST_FREQUENT, AnswerList, apply_rule
    from vqazoo.toolkit.classes import class_targets

    start = time.perf_counter()
    examples = open_dataset("vqav2", _vqa_args(folder)).read("train")
    read = time.perf_counter()
    examples = apply_rule(MOST_FREQUENT, examples, 0)
    answers = AnswerList.from_training([e.target for e in examples], 3129)
    targets = class_targets(answers, examples)
    learnt = time.perf_counter()
    images = {path: row for row, path in enumerate(dict.fromkeys(e.image for e in examples))}
    image_rows = torch.tensor([images[e.image] for e in examples])
    image = torch.randn(len(images), 512).half()
    question = torch.randn(len(examples), 512).half()
    layer = torch.nn.Sequential(
        torch.nn.Linear(1024, 512), torch.nn.ReLU(), torch.nn.Linear(512, len(answers))
    )
    optimiser = torch.optim.AdamW(layer.parameters())
    for rows in torch.randperm(len(examples)).split(1024):
        x = torch.cat([image[image_rows[rows]].float(), question[rows].float()], dim=1)
        classes = targets["answer"][rows, 0]
        loss = torch.nn.functional.cross_entropy(layer(x), classes, ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    done = time.perf_counter()
    return {
        "rows": len(examples),
        "read": read - start,
        "answers": learnt - read,
        "epoch": done - learnt,
        "peak_mb": peak_megabytes(),
    }


def _vqa_args(folder: Path) -> dict[str, Any]:
    from vqazoo.registry import registry

    return registry.fill("dataset", "vqav2", {"data_root": str(folder)})


def in_process(kind: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", kind, "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", choices=("vizwiz", "vqa"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the VQA v2-sized set")
    chosen = parser.parse_args()
    if chosen.measure:
        measure = measure_vizwiz if chosen.measure == "vizwiz" else measure_vqa
        print(json.dumps(measure(chosen.folder)))
        return
    with tempfile.TemporaryDirectory() as root:
        for times in (1, 4, 16):
            folder = Path(root) / str(times)
            folder.mkdir()
            write_vizwiz(folder, VIZWIZ * times // 16)
            print("VizWiz-sized", _shown(in_process("vizwiz", folder)), flush=True)
        folder = Path(root) / "vqa"
        folder.mkdir()
        write_vqa(folder, int(VQA_QUESTIONS * chosen.share), int(VQA_IMAGES * chosen.share))
        print("VQA v2-sized", _shown(in_process("vqa", folder)))


def _shown(found: dict[str, Any]) -> str:
    return ", ".join(
        f"{k} {v:,.2f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in found.items()
    )


if __name__ == "__main__":
    main()
