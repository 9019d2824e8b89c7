"""CLIP and SigLIP models of transformers, both towers.

Imports torch, and transformers when one is built.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, ImageTowerSpec, TextTowerSpec
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.pictures import read_preprocess
from vqazoo.toolkit.transformers import Repository, TextCodec, load_into
from vqazoo_hf.casing import lower_case

FAMILIES = ("clip", "siglip")
GEMMA = "GemmaTokenizer"  # of SigLIP 2


class HFCLIPEncoder(Encoder):
    """Both towers of a CLIP or SigLIP model of transformers; one that is not asked for is dropped.

    Pooled features are `get_image_features` and `get_text_features` scaled to norm 1. Tokens are
    the towers' last hidden states; CLIP's image tokens start with the class token (num_prefix 1).
    SigLIP reads questions padded to its full length without a mask, as it was trained. SigLIP 2
    was trained on lower-cased texts (Tschannen et al. 2025, section 2), though its repositories
    ship the tokenizer of Gemma, which keeps the case: here they are lower-cased, as by
    transformers' `Siglip2Tokenizer`.
    """

    def __init__(self, variant: str | None, towers: frozenset[str]) -> None:
        super().__init__()
        assert variant is not None
        from transformers import AutoModel

        self._repository = Repository(variant)
        self.files = self._repository.files(towers)
        config = self._repository.config()
        if config.model_type not in FAMILIES:
            raise IncompatibleError(
                f"'{variant}' is a '{config.model_type}' model, but hf-clip takes "
                f"{' and '.join(FAMILIES)}: for a text model write hf-text:{variant}."
            )
        self._family = config.model_type
        with self._repository.building():
            self.model: Any = AutoModel.from_config(config)
        for tower, names in (
            ("image", ("vision_model", "visual_projection")),
            ("text", ("text_model", "text_projection")),
        ):
            if tower not in towers:
                for name in names:
                    if hasattr(self.model, name):
                        setattr(self.model, name, None)
        clip = self._family == "clip"
        vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
        joint = config.projection_dim if clip else vision
        seeing = reading = None
        if "image" in towers:
            preprocess = read_preprocess(self._repository)
            seeing = ImageTowerSpec(joint, vision, True, preprocess=preprocess)
        if "text" in towers:
            longest = config.text_config.max_position_embeddings
            reading = TextTowerSpec(joint, text, True, context_length=longest)
            tokenizer = self._repository.tokenizer()
            if self._family == "siglip" and type(tokenizer).__name__.startswith(GEMMA):
                lower_case(tokenizer, variant)
            codec = TextCodec(tokenizer, longest)
            self.codec, self._pad_id = codec, codec.pad_id
            self.start_id, self.end_id = codec.start_id, codec.end_id
        self.spec = EncoderSpec(seeing, reading)

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        load_into(self.model, self._repository.folder)

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        out = self.model.vision_model(pixel_values=pixels)
        pooled = tokens = mask = None
        if POOLED in wants:
            vector = out.pooler_output  # (B, W)
            if self._family == "clip":
                vector = self.model.visual_projection(vector)  # (B, D)
            pooled = F.normalize(vector, dim=-1)
        if TOKENS in wants:
            tokens = out.last_hidden_state  # (B, N, W)
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask, 1 if self._family == "clip" else 0)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        length = ids.shape[1]
        if self._family == "clip":
            out = self.model.text_model(input_ids=ids, attention_mask=mask.long())
        else:
            missing = self.spec.context_length - length
            padded = F.pad(ids, (0, missing), value=self._pad_id)  # (B, context)
            out = self.model.text_model(input_ids=padded)
        pooled = None
        if POOLED in wants:
            vector = out.pooler_output  # (B, W)
            if self._family == "clip":
                vector = self.model.text_projection(vector)  # (B, D)
            pooled = F.normalize(vector, dim=-1)
        if TOKENS not in wants:
            return Features(pooled)
        return Features(pooled, out.last_hidden_state[:, :length], mask)

    def lend(self, name: str) -> nn.Module:
        if name != "token_embedding" or self.model.text_model is None:
            raise IncompatibleError(
                f"This hf-clip encoder lends no '{name}': it lends the token_embedding of its text "
                f"tower."
            )
        embedding: nn.Module = self.model.text_model.embeddings.token_embedding
        return embedding
