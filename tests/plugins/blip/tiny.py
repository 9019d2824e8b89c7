"""Tiny BLIP models of random weights, saved by transformers with the files of a real repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.plugins.encoders.tiny import WORDS
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo_blip.published import read

VOCABULARY = [*WORDS, "picture", "dark", "3", "[DEC]", "[ENC]"]
DEC, ENC = VOCABULARY.index("[DEC]"), VOCABULARY.index("[ENC]")
END = VOCABULARY.index("[SEP]")
ANSWERS = "BlipForQuestionAnswering"
CAPTIONS = "BlipForConditionalGeneration"
WIDTH = 32
END_BIAS = 2.0


def blip(
    folder: Path,
    architecture: str = ANSWERS,
    seed: int = 0,
    image_size: int = 32,
    prepared_size: int = 0,
    **text: Any,
) -> Any:
    """The model in eval mode; its files lie in the folder.

    `prepared_size`: of the pictures, if it differs from the model's own; text: of its text config.
    """
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    tokenizer = transformers.BertTokenizer(
        vocab=str(folder / "vocab.txt"),
        model_max_length=32,
        bos_token="[DEC]",
        additional_special_tokens=["[ENC]"],
    )
    side = prepared_size or image_size
    pictures = transformers.BlipImageProcessor(size={"height": side, "width": side})
    transformers.BlipProcessor(pictures, tokenizer).save_pretrained(folder)
    small = {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = transformers.BlipConfig(
        text_config={
            **small,
            "vocab_size": len(VOCABULARY),
            "max_position_embeddings": 40,
            "bos_token_id": DEC,
            "sep_token_id": END,
            "eos_token_id": END,
            "pad_token_id": 0,
            **text,
        },
        vision_config={**small, "image_size": image_size, "patch_size": 8},
        image_text_hidden_size=24,
    )
    torch.manual_seed(seed)
    model = getattr(transformers, architecture)(config).eval()
    with torch.no_grad():  # transformers' own are so small that every answer would be the same
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=_spread(name, parameter))
        if hasattr(model, "text_decoder"):  # answers end, but not at once
            model.text_decoder.cls.predictions.bias[END] += END_BIAS
    model.save_pretrained(folder)
    return model


def _spread(name: str, parameter: torch.Tensor) -> float:
    """Wide enough for various answers, narrow enough that rounding errors do not grow."""
    if parameter.dim() == 1:
        return 0.05
    return 1.0 if "position" in name else 0.5 if "embedding" in name else 0.2


def loaded(folder: Path) -> VQAModel:
    """The same model out of our parts."""
    config = json.loads((folder / "config.json").read_text())
    return read(str(folder), config, LoadOptions())


def until_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(END)] if END in ids else ids
