"""Tokenizers are exported only where the runner's ids are those that the encoder reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqazoo.errors import ConfigError
from vqazoo.registry import registry
from vqazoo_export.runner.tokens import Text
from vqazoo_export.tokens import exported_tokenizer

transformers = pytest.importorskip("transformers")

SPECIAL = ["<s>", "<pad>", "</s>"]
QUESTIONS = ["what is this?", "what is the red one, what is the blue one, and where?", "is it"]


def word_pieces(folder: Path, **said: Any) -> Path:
    """A small RoBERTa with byte pairs learnt from the questions, such as ` what`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learnt = trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([*QUESTIONS, "query: what is the"] * 9, learnt)
    made.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", None, [(token, SPECIAL.index(token)) for token in ("<s>", "</s>")]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", pad_token="<pad>", eos_token="</s>", **said
    ).save_pretrained(folder)
    config = transformers.RobertaConfig(
        vocab_size=made.get_vocab_size(),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=18,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    transformers.RobertaModel(config).save_pretrained(folder)
    return folder


def with_prompt(folder: Path, prompt: str) -> Path:
    """The same as a sentence-transformers folder whose texts follow a prompt."""
    word_pieces(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    said = {"prompts": {"query": prompt}, "default_prompt_name": "query"}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"word_embedding_dimension": 8}')
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(said))
    return folder


Make = Callable[[Path], Path]


@pytest.mark.parametrize(
    "make",
    [
        word_pieces,
        lambda folder: word_pieces(folder, padding_side="left"),
        lambda folder: with_prompt(folder, "query:"),
        lambda folder: with_prompt(folder, "the"),  # which the question may be, too
    ],
    ids=["plain", "pads-left", "prompt", "prompt-in-question"],
)
def test_the_runner_reads_the_ids_of_the_encoder(tmp_path: Path, make: Make) -> None:
    place = make(tmp_path / "model")
    encoder = registry.build("encoder", f"hf-text:{place}", str(place), frozenset({"text"}))
    content, how = exported_tokenizer(encoder, "mine")
    (tmp_path / how["file"]).write_bytes(content)
    found = Text(tmp_path, {"tokenizer": how, "head": {}}).encode(QUESTIONS)
    ids, mask = encoder.tokenize(QUESTIONS)
    assert np.array_equal(found["ids"], ids.numpy())
    assert np.array_equal(found["mask"], mask.numpy())
    assert mask.shape[1] == 16  # the second one is cut


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: word_pieces(folder, truncation_side="left"),
        lambda folder: with_prompt(folder, "query: "),  # whose blank grows into the question
    ],
    ids=["cuts-the-start", "prompt-grows"],
)
def test_what_the_runner_would_read_otherwise_is_not_exported(tmp_path: Path, make: Make) -> None:
    place = make(tmp_path / "model")
    encoder = registry.build("encoder", f"hf-text:{place}", str(place), frozenset({"text"}))
    with pytest.raises(ConfigError, match=r"cannot be exported: its tokenizer\.json would give"):
        exported_tokenizer(encoder, "mine")
