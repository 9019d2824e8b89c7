"""TinyCLIP as an encoder of the zoo. Imports torch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from torch import Tensor, nn

from vqazoo.errors import ConfigError, IncompatibleError, WeightsError
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    ImageTowerSpec,
    TextTowerSpec,
    WeightsReference,
)
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.version import __version__
from vqazoo_tiny_clip.model import PREPROCESS, TOKENIZER, WEIGHTS, TinyCLIP, TinyCLIPConfig
from vqazoo_tiny_clip.tokenizer import TinyCodec

FOLDER = Path(__file__).parent / "weights"


class TinyCLIPEncoder(Encoder):
    """Both towers of TinyCLIP; 2.1 million parameters.

    Pooled features are CLIP's vectors of norm 1, D = 192. Image tokens are the map of the third
    stage, (B, 16, 256) for 64 x 64 pixels, row by row, without prefix tokens; a larger
    `image_size` gives more of them, but no pooled vector, whose attention knows 64 x 64 only.
    Text tokens are the states after the final LayerNorm, (B, L, 128).

    Both towers are always built: together they are smaller than most single ones.
    """

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, weights: str, image_size: int
    ) -> None:
        super().__init__()
        self._packaged = weights == "packaged"
        config = TinyCLIPConfig()
        if image_size % 32:
            raise ConfigError(
                f"The encoder 'tiny-clip' has image_size {image_size}, but a multiple of 32 was "
                f"expected: try {max(32, round(image_size / 32) * 32)}."
            )
        own_size = image_size == config.image_size
        self.codec = TinyCodec.from_file(FOLDER / TOKENIZER, config.context_length)
        self.start_id, self.end_id = self.codec.start_id, self.codec.end_id
        self.model = TinyCLIP(config)
        self.spec = EncoderSpec(
            image=ImageTowerSpec(
                config.embed_dim if own_size else None,
                16 * config.image_width,
                normalized=True,
                preprocess=replace(PREPROCESS, size=(image_size, image_size)),
            ),
            text=TextTowerSpec(
                config.embed_dim,
                config.text_width,
                normalized=True,
                context_length=config.context_length,
            ),
        )

    def load_pretrained(self) -> None:
        if not self._packaged:
            return
        file = FOLDER / WEIGHTS
        try:
            content = file.read_bytes()
            tensors = safetensors_load(content)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"The packaged weights '{file}' cannot be read ({error}): install vqazoo again."
            ) from error
        own = self.model.state_dict()
        if tensors.keys() != own.keys():
            different = sorted(tensors.keys() ^ own.keys())
            raise WeightsError(
                f"The packaged weights '{file}' do not fit ({', '.join(different[:3])}, ...): "
                f"install vqazoo again."
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])  # float16 on disk, float32 here
        self.reference = WeightsReference(
            "package",
            "vqazoo_tiny_clip",
            f"weights/{WEIGHTS}",
            __version__,
            hashlib.sha256(content).hexdigest(),
            "MIT",
        )

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        third, last = self.model.visual.maps(pixels)  # (B, 256, H/16, W/16), (B, 512, H/32, W/32)
        pooled = tokens = mask = None
        if POOLED in wants:
            pooled = nn.functional.normalize(self.model.visual.attnpool(last), dim=-1)  # (B, D)
        if TOKENS in wants:
            tokens = third.flatten(2).transpose(1, 2)  # (B, N, 256)
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        states = self.model.text_states(ids)  # (B, L, 128)
        pooled = self.model.pool_text(states, mask) if POOLED in wants else None  # (B, D)
        if TOKENS in wants:
            return Features(pooled, states, mask)
        return Features(pooled)

    def lend(self, name: str) -> nn.Module:
        if name == "token_embedding":
            return self.model.token_embedding
        raise IncompatibleError(f"TinyCLIP lends its token_embedding, but '{name}' was asked for.")
