"""A ViLT of random weights, in the files of the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.plugins.encoders.tiny import WORDS as COMMON

WORDS = (*COMMON, "dark", "3")
LABELS = ("net", "Yes", "2", "no", "st. louis", "on table", "2.")  # as they are, not normalised
SIDE, PATCH = 64, 16  # sides up to int(1333 / 800 * 64) = 106, rounded down to 96
PREPROCESSOR = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViltImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "size": SIDE,
    "size_divisor": 32,
}


def vilt(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Save a ViLT with attention and norms far from their first values, so that each counts."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.ViltConfig(
        **{
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "vocab_size": len(WORDS),
            "max_position_embeddings": 12,
            "image_size": SIDE,
            "patch_size": PATCH,
            "id2label": dict(enumerate(LABELS)),
            "label2id": {label: number for number, label in enumerate(LABELS)},
            **changes,
        }
    )
    model = transformers.ViltForQuestionAnswering(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    said = {
        "do_lower_case": True,
        "model_max_length": 12,
        "tokenizer_class": "BertTokenizer",
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder
