"""Any open_clip model as an encoder of the zoo. Imports torch; open_clip when one is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.files.encoder_files import check_weights_file
from vqazoo.files.known_digests import joined_sha256
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    ImageTowerSpec,
    Preprocess,
    TextTowerSpec,
    WeightsReference,
)
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.assigning import assign
from vqazoo_open_clip.building import build, config_files, odd_values
from vqazoo_open_clip.codec import Codec
from vqazoo_open_clip.sources import SCHEMAS, configs, locate
from vqazoo_open_clip.states import (
    image_states,
    image_vector,
    image_widths,
    is_causal,
    text_states,
    text_widths,
)

SCALES = ("logit_scale", "logit_bias")  # of the training of CLIP


class OpenClipEncoder(Encoder):
    """Both towers of an open_clip model; a tower that is not asked for is dropped.

    `ViT-B-32` has random weights, `ViT-B-32@openai` those of a tag of open_clip, and
    `ViT-B-32@weights.safetensors` those of a file. `hf-hub:org/repo` and `local-dir:folder` bring
    architecture, preprocessing and weights. Only safetensors is read. The activation is that of the
    tag or config; `activation` says it where a file fits architectures with either.

    Pooled features are what `encode_image` and `encode_text` return, of norm 1. Image tokens are
    the states of the last layer before the final norm: patches after the class token for ViT
    (num_prefix 1), the last map for ResNet, and the trunk's features for timm towers. Text
    tokens are the states that the pooling sees, without a CoCa tower's own class token. CLIP's own
    causal text tower reads no padding, which stands behind the text and changes nothing; others
    read questions padded to the full context length, as open_clip does.
    """

    def __init__(self, variant: str | None, towers: frozenset[str], *, activation: str) -> None:
        super().__init__()
        assert variant is not None
        schema = next((schema for schema in SCHEMAS if variant.startswith(schema)), "")
        name, _, self._tag = (variant, "", "") if schema else variant.partition("@")
        self._name, self._activation = name, activation
        self.model = build(name, self._tag, activation)
        self._drop(towers)
        self.files = config_files(name, towers)
        with odd_values(name):
            text_config, preprocess = configs(name, self._tag, self.model)
        if "text" in towers:
            codec = Codec(name, text_config)
            self.codec, self._pad_id, self._context = codec, codec.pad_id, codec.context_length
            self.files = (*self.files, *codec.files)
            self.start_id, self.end_id = codec.start_id, codec.end_id
        with odd_values(name):
            self.spec = self._measure(towers, preprocess)

    def _drop(self, towers: frozenset[str]) -> None:
        """Remove what a missing tower would only keep in memory and in the fingerprint.

        Of what files of weights hold, scales are kept aside, where nothing else is missing.
        """
        unused = {*SCALES, "text_decoder"}
        if "image" not in towers:
            unused.add("visual")
        if "text" not in towers:
            unused |= {
                "text",
                "transformer",
                "token_embedding",
                "ln_final",
                "text_projection",
                "positional_embedding",
                "attn_mask",
            }
        held = {name: getattr(self.model, name) for name in unused if hasattr(self.model, name)}
        self._scales = held if set(held) <= set(SCALES) else None
        for name in held:
            setattr(self.model, name, None)

    @torch.no_grad()
    def _measure(self, towers: frozenset[str], preprocess: Preprocess) -> EncoderSpec:
        """Widths, from CLIP's own modules, or of a tower of another kind from one forward pass."""
        self.eval()
        every = frozenset({POOLED, TOKENS})
        image = text = None
        if "image" in towers:
            widths = image_widths(self.model) or _widths(
                self.encode_image(torch.zeros(1, 3, *preprocess.size), every)
            )
            image = ImageTowerSpec(*widths, normalized=True, preprocess=preprocess)
        if "text" in towers:
            widths = text_widths(self.model) or _widths(
                self.encode_text(*self.tokenize(["a"]), every)
            )
            text = TextTowerSpec(*widths, normalized=True, context_length=self._context)
        return EncoderSpec(image, text)

    # ---- weights ----------------------------------------------------------------------------

    def load_pretrained(self) -> None:
        located = locate(self._name, self._tag)
        if located is None:
            return
        file, reference = located
        named = not self._name.startswith(SCHEMAS)
        digest = joined_sha256([check_weights_file(file, named)])
        from open_clip.factory import load_checkpoint

        try:
            with self._whole() as full:
                fill = partial(full.load_state_dict, assign=True)  # no copy of the file
                full.load_state_dict = fill
                load_checkpoint(full, str(file), strict=True)
        except (RuntimeError, KeyError, ValueError, OSError, SafetensorError) as error:
            raise WeightsError(
                f"The weights '{file}' do not fit '{self._name}' "
                f"({' '.join(str(error).split()[:40])} ...): choose weights of this architecture."
            ) from error
        self.reference = WeightsReference(
            reference.kind,
            reference.source,
            reference.file,
            reference.revision,
            digest,
        )

    @contextmanager
    def _whole(self) -> Iterator[Any]:
        """A model with all that a file of weights holds; its tensors are then those of ours."""
        if self._scales is None:
            full = build(self._name, self._tag, self._activation)
            yield full
            assign(self.model, full.state_dict())
            return
        for name, scale in self._scales.items():
            setattr(self.model, name, scale)
        own = self.model.state_dict(keep_vars=True)
        try:
            yield self.model
        finally:
            given = self.model.state_dict()
            _put_back(self.model, own)  # which a head may have borrowed
            del self.model.load_state_dict
            for name in self._scales:
                setattr(self.model, name, None)
        assign(self.model, given)

    # ---- image ------------------------------------------------------------------------------

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        visual = self.model.visual
        if visual is None:
            return super().encode_image(pixels, wants)
        if TOKENS not in wants:
            return Features(F.normalize(image_vector(visual, pixels), dim=-1))  # (B, D)
        vector, tokens, prefix = image_states(visual, pixels)  # (B, D), (B, N, D)
        pooled = F.normalize(vector, dim=-1) if POOLED in wants else None  # (B, D)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask, prefix)

    # ---- text -------------------------------------------------------------------------------

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        length = ids.shape[1]
        missing = 0 if is_causal(self.model) else self._context - length
        full = F.pad(ids, (0, missing), value=self._pad_id)  # (B, L) or (B, context)
        pooled, tokens = text_states(self.model, full)  # (B, D), (B, L or context, W)
        tokens = tokens[:, :length]  # (B, L, W)
        if TOKENS not in wants:
            return Features(pooled)
        return Features(pooled if POOLED in wants else None, tokens, mask)

    def lend(self, name: str) -> nn.Module:
        if name != "token_embedding":
            raise IncompatibleError(f"open_clip encoders lend no '{name}', only token_embedding.")
        text = getattr(self.model, "text", None)
        if text is None:
            embedding = self.model.token_embedding
        elif hasattr(text, "token_embedding"):
            embedding = text.token_embedding
        else:
            embedding = text.transformer.get_input_embeddings()
        assert isinstance(embedding, nn.Module)
        return embedding


def _put_back(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model its own parameters and buffers again, where others were assigned."""
    for name, tensor in tensors.items():
        path, _, last = name.rpartition(".")
        module = model.get_submodule(path)
        kind: dict[str, Any] = module._parameters if last in module._parameters else module._buffers
        kind[last] = tensor


def _widths(features: Features) -> tuple[int, int]:
    assert features.pooled is not None
    assert features.tokens is not None
    return features.pooled.shape[1], features.tokens.shape[2]
