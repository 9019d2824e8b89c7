"""Folders of tiny models in every layout, and what lies beside the weights of an earlier push."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.plugins.blip.tiny import CAPTIONS, blip
from tests.plugins.blip2.published import published as blip2
from tests.plugins.encoders.tiny import hf_clip, hf_text
from tests.plugins.git.tiny import git
from tests.plugins.language_models.tiny import save as language_model
from tests.plugins.vilt.tiny import vilt
from tests.support.weights import unmapped

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = 3

# name: what writes its folder, and transformers' class for it
FAMILIES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "vilt": (vilt, "ViltForQuestionAnswering"),
    "git": (git, "GitForCausalLM"),
    "blip": (blip, "BlipForQuestionAnswering"),
    "blip-captions": (lambda folder: blip(folder, CAPTIONS), "BlipForConditionalGeneration"),
    "blip-2": (lambda folder: blip2(folder, "opt"), "Blip2ForConditionalGeneration"),
    "blip-2-t5": (lambda folder: blip2(folder, "t5"), "Blip2ForConditionalGeneration"),
    "clip": (lambda folder: hf_clip(folder, "clip"), "AutoModel"),
    "siglip": (lambda folder: hf_clip(folder, "siglip"), "AutoModel"),
    "text-bert": (lambda folder: hf_text(folder, "bert"), "AutoModel"),
    "text-distilbert": (lambda folder: hf_text(folder, "distilbert"), "AutoModel"),
    "text-gpt2": (lambda folder: hf_text(folder, "gpt2"), "AutoModel"),
    **{
        f"lm-{kind}": (lambda folder, kind=kind: language_model(folder, kind), auto)
        for auto, kinds in {
            "AutoModel": ("bert", "distilbert", "roberta"),
            "AutoModelForCausalLM": ("gpt2", "opt", "llama", "bloom"),
            "AutoModelForSeq2SeqLM": ("t5", "bart"),
        }.items()
        for kind in kinds
    },
}


def held(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors that were saved into a folder."""
    files = [folder / SINGLE] if (folder / SINGLE).is_file() else folder.glob("*.safetensors")
    return {name: tensor for file in files for name, tensor in unmapped(file).items()}


def shard(folder: Path) -> dict[str, str]:
    """Store the weights of a folder in shards with an index; the index's weight_map."""
    tensors = held(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    weight_map = {}
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        mine = {key: tensors[key] for key in sorted(tensors)[number::SHARDS]}
        save_file(mine, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(mine, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return weight_map


def join(folder: Path) -> None:
    """Store the weights of a folder in one file."""
    tensors = held(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    save_file(tensors, folder / SINGLE, {"format": "pt"})


def litter(folder: Path) -> list[str]:
    """Put beside the weights what is not the model: shards of an earlier push, variants, pickles.

    Their names are returned."""
    torch.manual_seed(99)
    stale = {name: torch.randn_like(t.float()).to(t.dtype) for name, t in held(folder).items()}
    half = {name: t.half() if t.is_floating_point() else t for name, t in stale.items()}
    beside = {
        "model-00001-of-00002.safetensors": stale,
        "model-99999-of-99999.safetensors": stale,
        "model.fp16.safetensors": half,
        "model_fp16.safetensors": half,
        "modelling.safetensors": stale,
    }
    for name, tensors in beside.items():
        save_file(tensors, folder / name, {"format": "pt"})
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04 not to be read")
    return [*beside, "pytorch_model.bin"]


def joined_digest(*files: Path) -> str:
    """SHA-256 over files one after the other, as checkpoints of format 1 have it."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
