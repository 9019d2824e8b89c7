"""Makes the golden checkpoints of a NEW format version. Never run it for a version that has some.

A golden folder is what an older release wrote; later releases must read it and answer the same. One
that is made again proves nothing. After adding a format version run, once,

    PYTHONPATH=. python tests/golden/make.py

and put the SHA-256 that it prints into tests/whole/test_golden.py.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import vqazoo
from tests.plugins.encoders.tiny import hf_text
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.data.answers import apply_rule
from vqazoo.files.writing import json_bytes
from vqazoo.publish.bundle import bundle_encoders
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder

TOY_ENCODER = {"type": "toy", "args": {"width": 4, "vocabulary": 258}}
LINEAR = {
    "head": {"type": "linear", "args": {"hidden_dim": 12, "dropout": 0.1}},
    "fusion": {"type": "concat", "args": {"dim": 10}},
}
# By format version; of version 2 are folders that hold an encoder's, here a text encoder's.
PARTS: dict[int, dict[str, dict[str, Any]]] = {
    1: {
        "linear": LINEAR,
        "gru": {
            "head": {"type": "gru", "args": {"hidden_dim": 8, "min_count": 1}},
            "fusion": {"type": "gated", "args": {"dim": 8, "dropout": 0.0}},
        },
        "lstm": {
            "head": {"type": "lstm", "args": {"hidden_dim": 8, "dropout": 0.0}},
            "fusion": {"type": "cross-attention", "args": {"dim": 8, "layers": 1, "heads": 2}},
        },
    },
    2: {"hf-text": LINEAR},
}
COLOURS = {"red": (220, 30, 40), "dark blue": (20, 30, 150), "light green": (140, 230, 150)}
QUESTIONS = ("what colour is it?", "is it red?")


def picture(colour: str, rng: random.Random) -> list[list[list[int]]]:
    """8 x 8 pixels of about one colour, so that nothing has to be resized."""
    return [
        [[min(255, max(0, c + rng.randint(-20, 20))) for c in COLOURS[colour]] for _ in range(8)]
        for _ in range(8)
    ]


def make(
    version: int, name: str, folder: Path, asked: list[dict[str, Any]], taught: list[str]
) -> None:
    """Train a model until it is sure, so that no answer hangs on the last digit; then save it."""
    torch.manual_seed(0)
    parts = PARTS[version][name]
    scratch = Path(tempfile.mkdtemp())
    text = f"hf-text:{hf_text(scratch / 'bert', 'bert')}" if version == 2 else TOY_ENCODER
    model = vqazoo.create(
        image_encoder=TOY_ENCODER,
        text_encoder=text,
        head=parts["head"],
        fusion=parts["fusion"],
        answers=[*COLOURS, "yes", "no"],
    )
    model.set_trainable(["*"])
    rows = [
        Example(Path("golden.png"), one["question"], (answer,), str(number))
        for number, (one, answer) in enumerate(zip(asked, taught, strict=True))
    ]
    targets = model.head.targets(apply_rule("most-frequent", rows, seed=0))
    images = [torch.tensor(one["pixels"], dtype=torch.uint8).numpy() for one in asked]
    pixels = torch.stack([model.transform(image) for image in images])
    questions = [one["question"] for one in asked]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(300):
        optimiser.zero_grad()
        model.head.loss(model(pixels, questions), targets)[0].backward()
        optimiser.step()
    model.eval()
    save_checkpoint(model, folder if version == 1 else scratch / "saved")
    if version == 2:
        bundle_encoders(scratch / "saved", folder, "MIT", print)
    with torch.no_grad():
        fused = model(pixels, questions).pooled
    answers = model.answer(images, questions, top_k=2)
    (folder / "inputs.json").write_text(json.dumps(asked) + "\n")
    outputs = {
        "answers": [
            {
                "ranked": [[a.text, round(a.score, 6)] for a in (one, *one.alternatives)],
                "answer_type": one.answer_type,
                "answerable": None if one.answerable is None else round(one.answerable, 6),
            }
            for one in answers
        ],
        "greedy": [one.text for one in model.answer(images, questions)],
        "fused": [[round(value, 6) for value in row] for row in fused.tolist()],
    }
    (folder / "outputs.json").write_bytes(json_bytes(outputs))
    right = sum(one.text == answer for one, answer in zip(answers, taught, strict=True))
    print(f"{name}: {right} of {len(taught)} right", file=sys.stderr)


def main() -> None:
    version = max(PARTS)
    format_folder = Path(__file__).parent / f"format-{version}"
    if format_folder.exists():
        sys.exit(f"'{format_folder}' is there: golden folders are never made again.")
    registry.register("encoder", "toy", TOY)(ToyEncoder)
    rng = random.Random(0)
    asked, taught = [], []
    for colour in COLOURS:
        for question in QUESTIONS:
            asked.append({"question": question, "pixels": picture(colour, rng)})
            taught.append(colour if question == QUESTIONS[0] else _yes(colour == "red"))
    for name in PARTS[version]:
        make(version, name, format_folder / name, asked, taught)
        print(f'"{format_folder.name}/{name}": {{')
        files = (file for file in (format_folder / name).rglob("*") if file.is_file())
        for file in sorted(files):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            print(f'    "{file.relative_to(format_folder / name).as_posix()}": "{digest}",')
        print("},")


def _yes(true: bool) -> str:
    return "yes" if true else "no"


if __name__ == "__main__":
    main()
