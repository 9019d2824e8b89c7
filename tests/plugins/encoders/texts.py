"""Tiny random text models of many families with real tokenizers, as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = (
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
    "who",
    "where",
    ":",
    "query",
)
SPECIALS = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
NEWER = {"eurobert": "EuroBertModel", "nomic_bert": "NomicBertModel", "qwen3": "Qwen3Model"}
LIKE_BERT = ("bert", "distilbert", "electra", "albert", "deberta-v2", "modernbert", "nomic_bert")
LIMIT = 24  # tokens that every family here has positions for
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
DECODER = {**SMALL, "num_key_value_heads": 1, "head_dim": 16}
NUMBERS = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}  # in SPECIALS of BERT
NUMBERS |= {"bos_token_id": 2, "eos_token_id": 3}
ENDS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}


def word_tokenizer(folder: Path, kind: str, limit: int | None, lower: bool = False) -> int:
    """A tokenizer of whole words with the special tokens of BERT or RoBERTa; how many it knows."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = SPECIALS[kind]
    names = {"bert": "pad unk cls sep mask", "roberta": "cls pad sep unk mask"}[kind].split()
    said = dict(zip(names, specials, strict=True))
    vocabulary = {word: i for i, word in enumerate((*specials, *WORDS, "What", "RED", "Circle"))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=said["unk"]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if lower:
        made.normalizer = normalizers.Lowercase()
    made.post_processor = processors.TemplateProcessing(
        f"{said['cls']} $A {said['sep']}",
        f"{said['cls']} $A {said['sep']} $B {said['sep']}",
        [(said[name], vocabulary[said[name]]) for name in ("cls", "sep")],
    )
    more: dict[str, Any] = {} if limit is None else {"model_max_length": limit}
    if kind == "roberta":
        more |= {"bos_token": said["cls"], "eos_token": said["sep"]}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, **{f"{name}_token": text for name, text in said.items()}, **more
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


def family(
    folder: Path,
    name: str,
    limit: int | None = LIMIT,
    lower: bool = False,
    said: dict[str, Any] | None = None,
) -> Path:
    """A model of a family beside its tokenizer.

    `limit` is what the tokenizer says, if anything; `said` stands in the config of some families.
    """
    import transformers as t

    if not hasattr(t, NEWER.get(name, "BertModel")):
        pytest.skip(f"this transformers has no {NEWER[name]}")
    kind = "bert" if name in LIKE_BERT else "roberta"
    vocab = {"vocab_size": word_tokenizer(folder, kind, limit, lower)}
    torch.manual_seed(0)
    places = {"max_position_embeddings": LIMIT}
    shifted = {"max_position_embeddings": LIMIT + 2, **ENDS}
    thin = {
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    }
    makers: dict[str, Any] = {
        "bert": lambda: t.BertModel(t.BertConfig(**SMALL, **vocab, **places)),
        "electra": lambda: t.ElectraModel(
            t.ElectraConfig(**SMALL, **vocab, **places, embedding_size=32)
        ),
        "albert": lambda: t.AlbertModel(
            t.AlbertConfig(**SMALL, **vocab, **places, embedding_size=32, pad_token_id=0)
        ),
        "deberta-v2": lambda: t.DebertaV2Model(t.DebertaV2Config(**SMALL, **vocab, **places)),
        "distilbert": lambda: t.DistilBertModel(
            t.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, **vocab, **places)
        ),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**SMALL, **vocab, **shifted)),
        "xlm-roberta": lambda: t.XLMRobertaModel(t.XLMRobertaConfig(**SMALL, **vocab, **shifted)),
        "modernbert": lambda: t.ModernBertModel(
            t.ModernBertConfig(**SMALL, **vocab, **places, **NUMBERS, **(said or {}))
        ),
        "nomic_bert": lambda: t.NomicBertModel(t.NomicBertConfig(**SMALL, **vocab, **places)),
        "eurobert": lambda: t.EuroBertModel(
            t.EuroBertConfig(**SMALL, **vocab, **places, **ENDS, **(said or {}))
        ),
        "qwen2": lambda: t.Qwen2Model(t.Qwen2Config(**DECODER, **vocab, **places, **ENDS)),
        "qwen3": lambda: t.Qwen3Model(t.Qwen3Config(**DECODER, **vocab, **places, **ENDS)),
        "gemma3_text": lambda: t.Gemma3TextModel(
            t.Gemma3TextConfig(**DECODER, **vocab, **places, **ENDS, **(said or {}))
        ),
        "camembert": lambda: t.CamembertModel(t.CamembertConfig(**SMALL, **vocab, **shifted)),
        "mpnet": lambda: t.MPNetModel(t.MPNetConfig(**SMALL, **vocab, **shifted)),
        "gpt2": lambda: t.GPT2Model(
            t.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=LIMIT, **vocab, **ENDS)
        ),
        "opt": lambda: t.OPTModel(
            t.OPTConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                ffn_dim=64,
                word_embed_proj_dim=32,
                **vocab,
                **places,
                **ENDS,
            )
        ),
        "llama": lambda: t.LlamaModel(
            t.LlamaConfig(**SMALL, num_key_value_heads=1, **vocab, **places, **ENDS)
        ),
        "t5": lambda: t.T5EncoderModel(
            t.T5Config(
                d_model=32,
                d_kv=16,
                d_ff=64,
                num_layers=2,
                num_heads=2,
                **vocab,
                pad_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=1,
            )
        ),
        "bart": lambda: t.BartModel(
            t.BartConfig(**thin, **vocab, **places, **ENDS, decoder_start_token_id=2)
        ),
        "xlnet": lambda: t.XLNetModel(
            t.XLNetConfig(d_model=32, n_layer=2, n_head=2, d_inner=64, **vocab, **ENDS)
        ),
    }
    model = makers[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def change(file: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    said = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(said | values))
