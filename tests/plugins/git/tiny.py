"""Tiny random GIT models of transformers, written with the files that published ones have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.plugins.encoders.tiny import WORDS

PREPROCESSOR = {
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "CLIPImageProcessor",
    "processor_class": "GitProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
}
TOKENIZER = {
    "do_lower_case": True,
    "model_max_length": 512,
    "tokenizer_class": "BertTokenizer",
    "processor_class": "GitProcessor",
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
SPECIALS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}  # [PAD], [CLS], [SEP]


def git(folder: Path, seed: int = 0, image_size: int = 32, frames: int = 0, **sizes: Any) -> Path:
    """A GitForCausalLM whose answers vary, saved by transformers beside its usual files."""
    import transformers

    torch.manual_seed(seed)
    said = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "vocab_size": len(WORDS),
        "max_position_embeddings": 64,
        "num_image_with_embedding": frames or None,
        **SPECIALS,
        "vision_config": {
            "hidden_size": 24,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": image_size,
            "patch_size": 8,
        },
    } | sizes
    model = transformers.GitForCausalLM(transformers.GitConfig(**said))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    crop = {"height": image_size, "width": image_size}
    pictures = {**PREPROCESSOR, "size": {"shortest_edge": image_size}, "crop_size": crop}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    return folder
