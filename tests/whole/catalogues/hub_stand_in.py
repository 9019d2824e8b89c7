"""A Hub cache on disk with what open_clip's architectures name: tokenizers and text configs.

The tokenizers know a few words, with the special tokens and ids of the real ones; the configs have
the real widths and vocabularies, and two layers. Nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WORDS = ["what", "is", "this", "the", "color", "of", "circle", "red", "a"]
# Special tokens with their ids, and what stands around a text.
SPECIAL: dict[str, tuple[dict[str, int], str]] = {
    "bert": ({"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}, "[CLS] $A [SEP]"),
    "t5": ({"<pad>": 0, "</s>": 1, "<unk>": 2}, "$A </s>"),
    "siglip": ({"<pad>": 0, "</s>": 1, "<unk>": 2}, "$A </s>"),  # pads with </s>
    "gemma": ({"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}, "$A <eos>"),
    "roberta": ({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, "<s> $A </s>"),
    "nllb": ({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "eng_Latn": 9}, "eng_Latn $A </s>"),
}
ROLES = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "eos": ("</s>", "<eos>"),
    "bos": ("<s>", "<bos>"),
}
FIRST_WORD = 1000
ROBERTA = {
    "model_type": "roberta",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
MT5 = {
    "model_type": "mt5",
    "d_kv": 64,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "vocab_size": 250112,
    "is_encoder_decoder": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "decoder_start_token_id": 0,
}
NLLB = {
    "model_type": "m2m_100",
    "d_model": 1024,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "vocab_size": 256206,
    "max_position_embeddings": 1024,
    "is_encoder_decoder": True,
    "pad_token_id": 1,
    "scale_embedding": True,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "roberta-base": ROBERTA | {"vocab_size": 50265},
    "xlm-roberta-base": ROBERTA | {"model_type": "xlm-roberta", "vocab_size": 250002},
    "xlm-roberta-large": ROBERTA
    | {
        "model_type": "xlm-roberta",
        "vocab_size": 250002,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
    },
    "google/mt5-base": MT5 | {"d_model": 768, "d_ff": 2048, "num_heads": 12},
    "google/mt5-xl": MT5 | {"d_model": 2048, "d_ff": 5120, "num_heads": 32},
    "facebook/nllb-200-distilled-600M": NLLB | {"encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096},
    "facebook/nllb-200-distilled-1.3B": NLLB | {"encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192},
}
FAMILIES = {
    "siglip2": "gemma",
    "siglip": "siglip",
    "nllb": "nllb",
    "mt5": "t5",
    "bert-base": "bert",
    "roberta": "roberta",
    "xlm-v": "roberta",
}


def lay_out(cache: Path, repositories: set[str]) -> None:
    """Write the repositories as huggingface_hub lays its cache out."""
    for repo in repositories:
        place = cache / f"models--{repo.replace('/', '--')}"
        folder = place / "snapshots" / COMMIT
        folder.mkdir(parents=True)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(COMMIT)
        family = next(kind for part, kind in FAMILIES.items() if part in repo.lower())
        write_tokenizer(folder, family)
        (folder / "config.json").write_text(json.dumps(CONFIGS.get(repo, {"model_type": "bert"})))


def write_tokenizer(folder: Path, family: str) -> None:
    """tokenizer.json and tokenizer_config.json of a family."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special, around = SPECIAL[family]
    roles = {role: name for role, names in ROLES.items() for name in names if name in special}
    words = {word: FIRST_WORD + number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(special | words, unk_token=roles["unk"]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    used = [name for name in special if name in around.split()]
    made.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(name, special[name]) for name in used]
    )
    if family == "siglip":
        roles["pad"] = roles["eos"]
    names = {f"{role}_token": name for role, name in roles.items()}
    PreTrainedTokenizerFast(
        tokenizer_object=made, padding_side="right", model_max_length=1024, **names
    ).save_pretrained(folder)
