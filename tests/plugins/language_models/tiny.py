"""Tiny random language models of every kind, saved by transformers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.plugins.encoders.tiny import tokenizer as save_tokenizer

ENCODERS = ("bert", "distilbert", "roberta")
DECODERS = ("gpt2", "opt", "llama", "bloom")
BOTH = ("t5", "bart")
WORDS = (
    "<pad>",
    "</s>",
    "<unk>",
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
    "yes",
    "no",
    ":",
    "question",
    "answer",
    "Question",
    "Answer",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = (
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
    "it",
    "circle",
    "?",
    "the",
    "color",
    "yes",
    "no",
    "3",
    "'",
)
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 96,
    "max_position_embeddings": 48,
}


def config(family: str, **changes: Any) -> Any:
    """A small transformers config of a family."""
    made = {
        "bert": lambda: transformers.BertConfig(**SMALL | changes),
        "roberta": lambda: transformers.RobertaConfig(
            **SMALL | {"pad_token_id": 1, "max_position_embeddings": 50} | changes
        ),
        "distilbert": lambda: transformers.DistilBertConfig(
            **{
                "dim": 32,
                "n_layers": 2,
                "n_heads": 2,
                "hidden_dim": 64,
                "vocab_size": 96,
                "max_position_embeddings": 48,
            }
            | changes
        ),
        "gpt2": lambda: transformers.GPT2Config(
            **{
                "n_embd": 32,
                "n_layer": 2,
                "n_head": 2,
                "vocab_size": 96,
                "n_positions": 48,
                "bos_token_id": 95,
                "eos_token_id": 95,
            }
            | changes
        ),
        "opt": lambda: transformers.OPTConfig(
            **{
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "ffn_dim": 64,
                "vocab_size": 96,
                "max_position_embeddings": 48,
                "word_embed_proj_dim": 32,
                "bos_token_id": 95,
                "eos_token_id": 95,
                "pad_token_id": 1,
            }
            | changes
        ),
        "llama": lambda: transformers.LlamaConfig(
            **SMALL | {"bos_token_id": 95, "eos_token_id": 95} | changes
        ),
        "bloom": lambda: transformers.BloomConfig(
            **{
                "hidden_size": 32,
                "n_layer": 2,
                "n_head": 2,
                "vocab_size": 96,
                "bos_token_id": 95,
                "eos_token_id": 95,
            }
            | changes
        ),
        "t5": lambda: transformers.T5Config(
            **{
                "d_model": 32,
                "d_kv": 16,
                "d_ff": 64,
                "num_layers": 2,
                "num_heads": 2,
                "vocab_size": 96,
                "decoder_start_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 0,
            }
            | changes
        ),
        "bart": lambda: transformers.BartConfig(
            **{
                "d_model": 32,
                "encoder_layers": 2,
                "decoder_layers": 2,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 64,
                "decoder_ffn_dim": 64,
                "vocab_size": 96,
                "max_position_embeddings": 48,
                "decoder_start_token_id": 1,
                "eos_token_id": 1,
                "bos_token_id": 0,
                "pad_token_id": 0,
                "forced_eos_token_id": None,
            }
            | changes
        ),
    }[family]
    return made()


def model(family: str, seed: int = 0, **changes: Any) -> Any:
    """A transformers model of a family with random weights, spread enough to matter, in eval."""
    torch.manual_seed(seed)
    if family in ENCODERS:
        auto = transformers.AutoModel
    elif family in DECODERS:
        auto = transformers.AutoModelForCausalLM
    else:
        auto = transformers.AutoModelForSeq2SeqLM
    made = auto.from_config(config(family, **changes))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    return made.eval()


def tokenizer(folder: Path, family: str) -> None:
    """A tokenizer of the family's kind: word pieces, byte-level BPE, or words with an end."""
    if family in ("bert", "distilbert"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.txt").write_text(
            "\n".join([*PIECES, *LETTERS, *(f"##{c}" for c in LETTERS)])
        )
        transformers.BertTokenizer(
            vocab=str(folder / "vocab.txt"), model_max_length=32
        ).save_pretrained(folder)
    elif family in (*DECODERS, "roberta"):
        save_tokenizer(folder, "gpt2")
    else:
        made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)


def save(folder: Path, family: str, seed: int = 0, **changes: Any) -> Path:
    """A folder with model and tokenizer, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer(folder, family)
    model(family, seed, **changes).save_pretrained(folder)
    return folder
