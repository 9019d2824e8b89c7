"""Calls of the pipeline that transformers 5 removed, and what transformers 4.57 returned for them.

`python -m tests.whole.ecosystem.old_pipeline` records old_pipeline.json anew, with the
interpreter named in VQAZOO_TRANSFORMERS4_PYTHON, which has transformers 4.57. That interpreter runs
this file alone: nothing of vqazoo is imported at the top.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "old_pipeline.json"
TASK = "visual-question-answering"
WHAT, COLOUR = "what is this?", "what color is the dark cat?"
END_BIAS = 5.5  # of the token that ends an answer
MODELS = ("vilt", "blip")  # one that picks from its labels, one that writes


def calls(make: Callable[..., Any], pictures: tuple[str, str]) -> dict[str, Any]:
    """The results of a script's calls, by what is special about each.

    Args:
        make: `pipeline` with task and model given.
        pictures: paths.
    """
    from PIL import Image
    from torch.utils.data import Dataset
    from transformers.pipelines.pt_utils import KeyDataset

    class Rows(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, row: int) -> dict[str, Any]:
            if row >= len(pictures):
                raise IndexError(row)
            return {"image": pictures[row], "question": WHAT}

    vqa, one, two = make(), *pictures
    asked = {"image": one, "question": WHAT}
    table = [{"picture": Image.open(path)} for path in pictures]
    return {
        "keywords": vqa(image=one, question=WHAT),
        "positions": vqa(two, COLOUR),
        "a PIL image": vqa(image=Image.open(one), question=WHAT),
        "top_k=1": vqa(image=one, question=WHAT, top_k=1),
        "top_k=3": vqa(image=two, question=WHAT, top_k=3),
        "top_k above the number of answers": vqa(image=one, question=WHAT, top_k=1000),
        "top_k of the constructor": make(top_k=2)(image=one, question=WHAT),
        "top_k of the call wins": make(top_k=2)(image=one, question=WHAT, top_k=1),
        "a dict": vqa(asked),
        "a dict and top_k": vqa(asked, top_k=2),
        "a list of one dict": vqa([asked]),
        "a list of dicts": vqa([asked, {"image": Image.open(two), "question": COLOUR}], top_k=2),
        "an empty list": vqa([]),
        "several pictures": vqa([one, two], WHAT, top_k=2),
        "several PIL images": vqa(image=[Image.open(p) for p in pictures], question=WHAT, top_k=2),
        "several questions": vqa(one, [WHAT, COLOUR], top_k=2),
        "one question in a list": vqa(one, [WHAT], top_k=2),
        "every picture with every question": vqa([one, two], [WHAT, COLOUR], top_k=2),
        "a KeyDataset": vqa(image=KeyDataset(table, "picture"), question=WHAT, top_k=2),
        "a KeyDataset and questions": vqa(KeyDataset(table, "picture"), [WHAT, COLOUR], top_k=1),
        "a generator": list(vqa(({"image": p, "question": WHAT} for p in pictures), top_k=2)),
        "a dataset of dicts": list(vqa(Rows(), top_k=2)),
        "batches": vqa([asked, asked, asked], batch_size=2, top_k=1),
        "options of reading": vqa(asked, padding=True, truncation=True, timeout=5.0, top_k=1),
    }


def fill(folder: Path, narrow: float) -> None:
    """Weights that depend on their names only, not on a release of torch or transformers."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            continue
        draws = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tensor.shape)
        norm = "norm" in name.lower() and name.endswith("weight")
        spread = 0.05 if tensor.ndim == 1 else 0.5 if "embedding" in name else narrow
        tensors[name] = (draws * spread + norm).astype(np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def prepare(folder: Path) -> None:
    """Two models and two pictures in a folder."""
    import random

    from tests.plugins.blip.tiny import END, blip
    from tests.plugins.vilt.tiny import vilt
    from vqazoo_tiny_clip.render import draw_scene

    vilt(folder / "vilt")
    fill(folder / "vilt", narrow=0.3)
    blip(folder / "blip")
    fill(folder / "blip", narrow=0.2)
    finish_blip(folder / "blip", END)
    said = folder / "blip" / "tokenizer_config.json"
    known = json.loads(said.read_text())
    known["additional_special_tokens"] = known.pop("extra_special_tokens")  # transformers 4's name
    known["model_input_names"] = ["input_ids", "attention_mask"]  # as in the published repository
    said.write_text(json.dumps(known))
    rng = random.Random(3)
    for name in ("one.png", "two.png"):
        draw_scene(rng).paint().save(folder / name)


def finish_blip(folder: Path, end: int) -> None:
    """Answers end, and tied weights stand in the file twice, as in the published repository."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    last = "text_decoder.cls.predictions"
    tensors[f"{last}.bias"][end] += END_BIAS
    tensors[f"{last}.decoder.bias"] = tensors[f"{last}.bias"].copy()
    words = tensors["text_decoder.bert.embeddings.word_embeddings.weight"]
    tensors[f"{last}.decoder.weight"] = words.copy()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def record(folder: Path, out: Path) -> None:
    """What this interpreter's transformers returns."""
    import transformers

    pictures = (str(folder / "one.png"), str(folder / "two.png"))
    found = {
        model: calls(
            lambda model=model, **options: transformers.pipeline(
                TASK, model=str(folder / model), device="cpu", **options
            ),
            pictures,
        )
        for model in MODELS
    }
    said = {"transformers": transformers.__version__, **found}
    out.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        record(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as made:
            prepare(Path(made))
            old = os.environ["VQAZOO_TRANSFORMERS4_PYTHON"]
            subprocess.run([old, __file__, made, str(RECORD)], check=True, cwd=made)
