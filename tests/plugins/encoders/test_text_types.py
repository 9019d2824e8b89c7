"""Text models are read as transformers reads them, or refused by the name of their type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plugins.encoders.texts import word_tokenizer
from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.registry import registry

transformers = pytest.importorskip("transformers")

WANTED = frozenset({"pooled", "tokens"})
TEXTS = ["what is this red circle on the blue square ?", "what is this"]
ENDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 40}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
PAIRED = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
}


def saved(folder: Path, name: str, sizes: dict[str, Any], auto: str = "AutoModel") -> Any:
    """The model of a type, saved beside a tokenizer."""
    if name not in transformers.CONFIG_MAPPING:
        pytest.skip(f"this transformers has no {name}")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name, **{**ENDS, **sizes})
    kind = getattr(transformers, auto)
    model = kind.from_config(config) if auto == "AutoModel" else kind(config)
    model.save_pretrained(folder)
    word_tokenizer(folder, "roberta", 64)
    return model.eval()


def opened(folder: Path) -> Any:
    place = str(folder)
    encoder = registry.build(
        "encoder", f"hf-text:{place}", place, frozenset({"text"}), pooling="mean"
    )
    encoder.load_pretrained()
    return encoder.eval()


def check_alone(encoder: Any, published: Any) -> None:
    """Each text of a batch has the states that the library gives it alone."""
    ids, mask = encoder.tokenize(TEXTS)
    with torch.no_grad():
        found = encoder.encode_text(ids, mask, WANTED)
        for row, real in enumerate(mask.sum(dim=1).tolist()):
            alone = published(input_ids=ids[row : row + 1, :real]).last_hidden_state[0]  # (l, D)
            torch.testing.assert_close(found.tokens[row, :real], alone, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.pooled[row], alone.mean(dim=0), rtol=1e-4, atol=1e-5)
    spec = encoder.spec.text
    assert (spec.tokens, spec.pooled) == (found.tokens.shape[2], found.pooled.shape[1])


@pytest.mark.parametrize(
    ("name", "auto"),
    [("longt5", "LongT5EncoderModel"), ("switch_transformers", "SwitchTransformersEncoderModel")],
)
def test_the_encoder_of_a_model_with_a_decoder_is_read(
    name: str, auto: str, tmp_path: Path
) -> None:
    more = {"num_experts": 2} if name == "switch_transformers" else {"local_radius": 4}
    published = saved(tmp_path, name, {**T5, **more}, auto)
    check_alone(opened(tmp_path), published)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        (  # states of both reversible streams
            "reformer",
            {
                "axial_pos_embds": False,
                "attn_layers": ["local", "lsh"],
                "hash_seed": 0,
                "attention_head_size": 16,
                "local_attn_chunk_length": 4,
                "lsh_attn_chunk_length": 4,
                "num_buckets": 2,
                "is_decoder": False,
            },
        ),
        ("embedding_gemma2_text", {"num_key_value_heads": 1, "head_dim": 16}),
    ],
)
def test_states_may_be_wider_than_the_config_says(
    name: str, more: dict[str, Any], tmp_path: Path
) -> None:
    published = saved(tmp_path, name, {**SMALL, **more})
    encoder = opened(tmp_path)
    assert encoder.spec.text.tokens > published.config.hidden_size
    check_alone(encoder, published)


@pytest.mark.parametrize(
    ("name", "sizes", "said"),
    [
        ("blenderbot", PAIRED, "does not read a text by itself"),
        ("pegasus", PAIRED, "does not read a text by itself"),
        ("marian", PAIRED, "does not read a text by itself"),
        ("bros", {**SMALL, "dim_bbox": 8}, "does not read a text by itself .*bbox"),
        ("vit", SMALL, "does not read a text by itself"),
        ("dpr", SMALL, "gives no states of the words of a text"),
        (
            "fsmt",
            {**PAIRED, "src_vocab_size": 40, "tgt_vocab_size": 40, "langs": ["en", "de"]},
            "gives scores of width 40 for states of width 32",
        ),
        (
            "reformer",
            {**SMALL, "axial_pos_embds": False, "attn_layers": ["lsh"], "is_decoder": False},
            "hashes words by random numbers",
        ),
    ],
)
def test_a_type_that_reads_no_text_by_itself_is_refused_by_its_name(
    name: str, sizes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    saved(tmp_path, name, sizes)
    with pytest.raises(IncompatibleError, match=f"is a '{name}' model, which {said}.*: ") as told:
        opened(tmp_path)
    assert "\n" not in str(told.value)


def test_a_tokenizer_of_bytes_needs_no_vocabulary(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {**T5, "vocab_size": 384, "pad_token_id": 0, "eos_token_id": 1}
    published = transformers.T5EncoderModel(transformers.T5Config(**sizes))
    published.save_pretrained(tmp_path)
    tokenizer = transformers.ByT5Tokenizer()
    tokenizer.save_pretrained(tmp_path)
    encoder = opened(tmp_path)
    ids, mask = encoder.tokenize(TEXTS)
    assert [row[real].tolist() for row, real in zip(ids, mask, strict=True)] == (
        tokenizer(TEXTS).input_ids
    )
    check_alone(encoder, published.eval())
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("ByT5Tokenizer", "T5Tokenizer"))
    with pytest.raises(WeightsError, match="has no vocabulary of a tokenizer"):
        opened(tmp_path)
