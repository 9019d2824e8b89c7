"""Tiny random models of every encoder family, written as the libraries themselves save them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "what",
    "is",
    "this",
    "red",
    "blue",
    "a",
    "circle",
    "?",
    "the",
    "color",
    "shape",
    "of",
    "yes",
    "no",
    "it",
    "an",
    "##s",
)
LAYERS = {"width": 32, "layers": 2}
VIT = {"image_size": 32, "patch_size": 8, "head_width": 16, **LAYERS}
TEXT = {"context_length": 16, "vocab_size": 49408, "heads": 2, **LAYERS}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
CONVNEXT = {
    "image_size": 32,
    "timm_model_name": "test_convnext",
    "timm_pool": "",
    "timm_proj": "linear",
}
DECODER = {**TEXT, "mlp_ratio": 2, "dim_head": 16, "n_queries": 8, "attn_pooler_heads": 2}


def open_clip_configs(folder: Path) -> dict[str, dict]:
    """One config for each tower layout of open_clip, by name."""
    bert = hf_text(folder / "bert-of-clip", "bert")
    return {
        "tiny-vit": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
        "tiny-resnet": {"embed_dim": 24, "vision_cfg": RESNET, "text_cfg": TEXT},
        "tiny-convnext": {"embed_dim": 24, "vision_cfg": CONVNEXT, "text_cfg": TEXT},
        "tiny-timm-vit": {
            "embed_dim": 24,
            "vision_cfg": {**CONVNEXT, "timm_model_name": "test_vit", "image_size": 160},
            "text_cfg": TEXT,
        },
        "tiny-hf-text": {
            "embed_dim": 24,
            "vision_cfg": VIT,
            "text_cfg": {
                "hf_model_name": str(bert),
                "hf_tokenizer_name": str(bert),
                "context_length": 16,
                "hf_proj_type": "mlp",
                "hf_pooler_type": "mean_pooler",
            },
        },
        "tiny-coca": {
            "embed_dim": 24,
            "custom_text": True,
            "vision_cfg": {
                **VIT,
                "attentional_pool": True,
                "attn_pooler_heads": 2,
                "output_tokens": True,
            },
            "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True, "vocab_size": 49408},
            "multimodal_cfg": DECODER,
        },
        "tiny-sigmoid": {  # SigLIP: no causal mask, last token pooled, a bias on the logits
            "embed_dim": 32,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                **CONVNEXT,
                "timm_model_name": "test_vit",
                "image_size": 160,
                "timm_proj": "none",
                "timm_pool": "token",
            },
            "text_cfg": {
                **TEXT,
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
                "width": 32,
            },
        },
    }


def register_open_clip(folder: Path) -> list[str]:
    """Make the tiny configs known to open_clip; returns their names."""
    import open_clip

    place = folder / "open_clip"
    place.mkdir(parents=True, exist_ok=True)
    configs = open_clip_configs(folder)
    for name, config in configs.items():
        (place / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(place)
    return list(configs)


def tokenizer(folder: Path, family: str) -> None:
    """A real tokenizer of a few words, in the family's own files."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    if family == "gpt2":
        vocab = {chr(33 + i): i for i in range(94)} | {"Ġ": 94, "<|endoftext|>": 95}
        (folder / "vocab.json").write_text(json.dumps(vocab))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        made = transformers.GPT2Tokenizer(
            vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")
        )
    else:
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        made = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=32)
    made.save_pretrained(folder)


def hf_text(folder: Path, family: str) -> Path:
    """A text model saved by transformers."""
    import transformers

    torch.manual_seed(0)
    size = {"vocab_size": 96, "max_position_embeddings": 32}
    models = {
        "bert": lambda: transformers.BertModel(
            transformers.BertConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                **size,
            )
        ),
        "distilbert": lambda: transformers.DistilBertModel(
            transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, **size)
        ),
        "gpt2": lambda: transformers.GPT2Model(
            transformers.GPT2Config(
                n_embd=32,
                n_layer=2,
                n_head=2,
                vocab_size=96,
                n_positions=64,
                bos_token_id=95,
                eos_token_id=95,
            )
        ),
    }
    tokenizer(folder, family)
    models[family]().save_pretrained(folder)
    return folder


def hf_clip(folder: Path, family: str) -> Path:
    """A CLIP or SigLIP model saved by transformers."""
    import transformers

    torch.manual_seed(0)
    tokenizer(folder, "bert")
    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {
        **small,
        "vocab_size": 96,
        "max_position_embeddings": 16,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    vision = {**small, "image_size": 32, "patch_size": 8}
    prepared = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "resample": 3}
    if family == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        transformers.CLIPModel(config).save_pretrained(folder)
        prepared |= {
            "size": {"shortest_edge": 36},
            "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32},
            "image_processor_type": "CLIPImageProcessor",
        }
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        transformers.SiglipModel(config).save_pretrained(folder)
        prepared |= {
            "size": {"height": 32, "width": 32},
            "image_processor_type": "SiglipImageProcessor",
        }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder
