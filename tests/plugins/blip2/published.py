"""Tiny random BLIP-2 models, saved by transformers in the layout of the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

WORDS = ("what", "is", "this", "red", "blue", "Question", ":", "Answer", "Short", "answer", "?")
CHARACTERS = [chr(33 + i) for i in range(94)]
QUERIES = 4
WORDS_LEFT = 4  # words of the language model beyond its tokenizer's, as in the published ones


def opt_tokenizer() -> Any:
    """Byte-level BPE without merges; `</s>` comes first, as OPT has it."""
    import transformers

    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocab |= {sign: 4 + i for i, sign in enumerate([*CHARACTERS, "Ġ", "Ċ"])}
    return transformers.GPT2Tokenizer(
        vocab=vocab,
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
        add_bos_token=True,
        model_max_length=64,
    )


def t5_tokenizer() -> Any:
    """Unigrams; `</s>` comes last, as T5 has it."""
    import transformers

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS] + [(sign, -5.0) for sign in CHARACTERS]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=64)


def language_config(kind: str, tokenizer: Any, width: int) -> Any:
    import transformers

    size = len(tokenizer) + WORDS_LEFT
    if kind == "opt":
        return transformers.OPTConfig(
            vocab_size=size,
            hidden_size=width,
            word_embed_proj_dim=width,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=96,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=tokenizer.convert_tokens_to_ids("Ċ"),
        )
    return transformers.T5Config(
        vocab_size=size,
        d_model=width,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )


def published(
    folder: Path, kind: str, seed: int = 0, image_size: int = 32, width: int = 32
) -> tuple[Any, Any]:
    """Save a model and its processor into a folder; returns both. `kind` is `opt` or `t5`."""
    import transformers

    tokenizer = opt_tokenizer() if kind == "opt" else t5_tokenizer()
    size = {"height": image_size, "width": image_size}
    processor = transformers.Blip2Processor(
        transformers.BlipImageProcessor(size=size), tokenizer, num_query_tokens=QUERIES
    )  # adds <image>
    config = transformers.Blip2Config(
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": image_size,
            "patch_size": 8,
        },
        qformer_config={
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocab_size": 50,
        },
        text_config=language_config(kind, tokenizer, width).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = transformers.Blip2ForConditionalGeneration(config).eval()
    disturb(model, seed)
    model.save_pretrained(folder, max_shard_size="60KB")
    processor.save_pretrained(folder)
    return model, processor


def disturb(model: nn.Module, seed: int) -> None:
    """Random weights large enough that every one of them shows in the answers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.3 if parameter.dim() == 1 else 1.5 * parameter.shape[-1] ** -0.5
            if "query_tokens" in name:
                scale = 1.0
            if "embed_tokens" in name or "shared" in name:  # tied to the output layer
                scale = 0.2
            is_norm = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(noise * scale + (1.0 if is_norm else 0.0))
