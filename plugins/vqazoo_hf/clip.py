"""CLIP, SigLIP and other models of two towers of transformers.

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
from vqazoo.toolkit.pictures import read_patches, read_preprocess
from vqazoo.toolkit.transformers import Repository, TextCodec, load_into
from vqazoo_hf.casing import lower_case
from vqazoo_hf.clip_types import CLS, dual_type
from vqazoo_hf.patches import naflex_inputs
from vqazoo_hf.positions import position_limit
from vqazoo_hf.precision import in_single

LONGEST = 512  # where the tower counts no places
IMAGE_PARTS = ("mit",)  # of X-CLIP
GEMMA = "GemmaTokenizer"  # of SigLIP 2


class HFCLIPEncoder(Encoder):
    """Both towers of a CLIP-like model of transformers; one that is not asked for is dropped.

    Pooled features are what the contrastive loss of the model compares, such as
    `get_image_features` and `get_text_features`, scaled to norm 1. Tokens are the towers' last
    hidden states; class tokens come first (num_prefix 1). The table `DUAL_TYPES` says what is taken
    of each type.

    SigLIP reads questions padded to its full length without a mask, as it was trained, on the side
    that its tokenizer's file says. SigLIP 2
    was trained on lower-cased texts (Tschannen et al. 2025, section 2), though its repositories
    ship the tokenizer of Gemma, which keeps the case: here they are lower-cased, as by
    transformers' `Siglip2Tokenizer`. Its NaFlex models keep each picture's aspect. X-CLIP reads a
    picture as a video that stands still.
    """

    def __init__(self, variant: str | None, towers: frozenset[str]) -> None:
        super().__init__()
        assert variant is not None
        import transformers

        self._repository = Repository(variant)
        self.files = self._repository.files(towers)
        config = in_single(self._repository.config())
        self._type = dual_type(config, variant)
        vision, text = config.vision_config, config.text_config
        if "image" in towers:
            preprocess = (
                read_patches(self._repository, vision.patch_size)
                if self._type.naflex
                else read_preprocess(self._repository)
            )
        tokenizer = self._repository.tokenizer() if "text" in towers else None
        kind = getattr(transformers, self._type.kind)
        with self._repository.building():
            auto = self._type.kind == "AutoModel"
            self.model: Any = kind.from_config(config) if auto else kind(config)
        kept = {
            *(IMAGE_PARTS if self._type.frames and "image" in towers else ()),
            *((self._type.image, self._type.image_projection) if "image" in towers else ()),
            *((self._type.text, self._type.text_projection) if "text" in towers else ()),
        }
        for name, _ in list(self.model.named_children()):
            if name not in kept:
                setattr(self.model, name, None)
        joint = getattr(config, self._type.joint) if self._type.joint else vision.hidden_size
        self._vision = vision
        seeing = reading = None
        if "image" in towers:
            seeing = ImageTowerSpec(joint, vision.hidden_size, True, preprocess=preprocess)
        if tokenizer is not None:
            longest = self._longest(tokenizer)
            states = getattr(text, self._type.states)
            reading = TextTowerSpec(joint, states, True, context_length=longest)
            if self._type.lowered and type(tokenizer).__name__.startswith(GEMMA):
                lower_case(tokenizer, variant)
            codec = TextCodec(tokenizer, longest)
            self.codec, self._pad_id = codec, codec.pad_id
            self._pads_left = tokenizer.padding_side == "left"
            self.start_id, self.end_id = codec.start_id, codec.end_id
        self.spec = EncoderSpec(seeing, reading)

    def _text(self) -> Any:
        return getattr(self.model, self._type.text)

    def _longest(self, tokenizer: Any) -> int:
        """Tokens of the longest text: places of the tower, or fewer as its tokenizer says."""
        text = self._text()
        places = position_limit(getattr(text, "roberta", text)) or LONGEST
        return places if self._type.padded else min(places, int(tokenizer.model_max_length))

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        load_into(self.model, self._repository.folder, self._type.kind)

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        tower, frames = getattr(self.model, self._type.image), 1
        if self._type.naflex:
            out = tower(**naflex_inputs(pixels, self._vision.patch_size))
        elif self._type.frames:
            frames = self._vision.num_frames
            out = tower(pixel_values=pixels.repeat_interleave(frames, dim=0))  # B * F rows
        else:
            out = tower(pixel_values=pixels)
        pooled = tokens = mask = None
        if POOLED in wants:
            vector = _pooled(out, self._type.image_pooled)  # (B, W)
            vector = self._projected(self._type.image_projection, vector)  # (B, D)
            if self._type.frames:
                vector = self.model.mit(vector.unflatten(0, (-1, frames))).pooler_output  # (B, D)
            pooled = F.normalize(vector, dim=-1)
        if TOKENS in wants:
            tokens = out.last_hidden_state[::frames]  # (B, N, W)
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask, self._type.prefix)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)  # (B, L)
        if self._type.padded:
            context = self.spec.context_length
            padded = F.pad(ids, (0, context - ids.shape[1]), value=self._pad_id)  # (B, context)
            if self._pads_left:
                shift = context - mask.sum(dim=1, keepdim=True)  # (B, 1)
                whole = torch.arange(context, device=ids.device)
                padded = padded.gather(1, (whole - shift) % context)
                places = (places + shift) % context
            out = self._text()(input_ids=padded)
        else:
            out = self._text()(input_ids=ids, attention_mask=mask.long())
        pooled = None
        if POOLED in wants:
            vector = _pooled(out, self._type.text_pooled)  # (B, W)
            pooled = F.normalize(self._projected(self._type.text_projection, vector), dim=-1)
        if TOKENS not in wants:
            return Features(pooled)
        states = out.last_hidden_state  # (B, context or L, W)
        if self._type.padded and self._pads_left:
            return Features(pooled, states.take_along_dim(places[..., None], dim=1), mask)
        return Features(pooled, states[:, : ids.shape[1]], mask)

    def _projected(self, name: str, vector: Tensor) -> Tensor:
        projected: Tensor = getattr(self.model, name)(vector) if name else vector
        return projected

    def lend(self, name: str) -> nn.Module:
        text = self._text()
        if name != "token_embedding" or text is None:
            raise IncompatibleError(
                f"This hf-clip encoder lends no '{name}': it lends the token_embedding of its text "
                f"tower."
            )
        embeddings = getattr(text, "roberta", text).embeddings
        words = getattr(embeddings, "word_embeddings", None)
        embedding: nn.Module = embeddings.token_embedding if words is None else words
        return embedding


def _pooled(out: Any, name: str) -> Tensor:
    """The vector (B, W) of a tower's output."""
    vector: Tensor = out.last_hidden_state[:, 0] if name == CLS else out.pooler_output
    return vector
