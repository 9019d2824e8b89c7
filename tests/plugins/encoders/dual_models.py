"""Tiny random models of two towers of transformers, one line for each row of `DUAL_TYPES`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.plugins.encoders.image_models import PREPARED, SMALL, VIT
from tests.plugins.encoders.tiny import tokenizer

WORDS = {**SMALL, "vocab_size": 96, "max_position_embeddings": 24}
WORDS |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
ROBERTA = {**WORDS, "project_dim": 20}
FRAMES = {**VIT, "num_frames": 2, "mit_hidden_size": 24, "mit_intermediate_size": 32}
FRAMES |= {"mit_num_hidden_layers": 1, "mit_num_attention_heads": 2, "drop_path_rate": 0.0}
JOINT = {"projection_dim": 24}
# key of the table: class that saves it, config of its image tower, of its text tower, and of both.
DUAL_MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "aimv2": ("Aimv2Model", {**VIT, "use_head": True}, WORDS, JOINT),
    "altclip": ("AltCLIPModel", VIT, ROBERTA, JOINT),
    "blip:BlipModel": ("BlipModel", VIT, WORDS, JOINT),
    "blip:BlipForImageTextRetrieval": (
        "BlipForImageTextRetrieval",
        VIT,
        {**WORDS, "encoder_hidden_size": 32},
        {"image_text_hidden_size": 20},
    ),
    "chinese_clip": ("ChineseCLIPModel", VIT, WORDS, JOINT),
    "clip": ("CLIPModel", VIT, WORDS, JOINT),
    "metaclip_2": ("MetaClip2Model", VIT, WORDS, JOINT),
    "siglip": ("SiglipModel", VIT, WORDS, {}),
    "siglip2": ("Siglip2Model", {**VIT, "num_patches": 16}, WORDS, {}),
    "xclip": ("XCLIPModel", FRAMES, WORDS, JOINT),
}


def save_dual_model(folder: Path, key: str) -> Any:
    """Write a tiny model with tokenizer and preprocessor into a folder; the model, in eval mode."""
    import transformers

    torch.manual_seed(0)
    kind, vision, text, both = DUAL_MODELS[key]
    model_class = getattr(transformers, kind)
    if kind.startswith("Blip"):
        vision, text = vision | both, text | both
    if "projection_dim" in both:
        text = text | both
    config = model_class.config_class(vision_config=vision, text_config=text, **both)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    tokenizer(folder, "bert")
    model.save_pretrained(folder)
    processor: dict[str, Any] = {"image_processor_type": "CLIPImageProcessor"}
    processor |= {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    processor["do_center_crop"] = True
    if key == "siglip2":
        processor = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8}
        processor["max_num_patches"] = 12
    (folder / "preprocessor_config.json").write_text(json.dumps({**PREPARED, **processor}))
    return model
