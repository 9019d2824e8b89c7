"""The image tower of transformers' BLIP-2 models. Imports torch, and transformers when built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, ImageTowerSpec
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.assigning import assign
from vqazoo.toolkit.pictures import read_preprocess
from vqazoo.toolkit.transformers import Repository
from vqazoo.toolkit.weights import read_tensors

FAMILY = "blip-2"
PREFIX = "vision_model."  # of its tensors in the files


class HFBlip2Encoder(Encoder):
    """BLIP-2's ViT with its last LayerNorm; the question goes to a language model (hf-lm).

    Tokens are the normalised last hidden states, class token first (num_prefix 1); pooled is the
    class token. Position embeddings are resized for pictures of another size than the config's.

    Source: Li et al. 2023, BLIP-2, section 3.4; the norm is `ln_vision` of the original code.
    """

    def __init__(self, variant: str | None, towers: frozenset[str]) -> None:
        super().__init__()
        assert variant is not None
        if "text" in towers:
            raise IncompatibleError(
                f"The encoder 'hf-blip2' has no text tower: name the language model with "
                f"--text-encoder hf-lm:{variant}."
            )
        from transformers import Blip2VisionModel

        self._repository = Repository(variant)
        self.files = self._repository.files(frozenset({"image"}))
        config = self._repository.config_of("hf-blip2", FAMILY, "Salesforce/blip2-opt-2.7b")
        with self._repository.building():
            self.model: Any = Blip2VisionModel(config.vision_config)
        width = config.vision_config.hidden_size
        self.spec = EncoderSpec(
            ImageTowerSpec(width, width, preprocess=read_preprocess(self._repository))
        )

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        tensors = {
            name.removeprefix(PREFIX): tensor
            for name, tensor in read_tensors(self._repository.folder).items()
            if name.startswith(PREFIX)
        }
        try:
            if tensors.keys() != self.model.state_dict().keys():
                self.model.load_state_dict(tensors)  # which says what differs
            assign(self.model, tensors)
        except RuntimeError as error:
            raise WeightsError(
                f"The weights in '{self._repository.folder}' do not fill the image tower "
                f"({str(error).splitlines()[-1].strip()}): get them again."
            ) from error

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        size = self.model.config.image_size
        usual = (size, size) if isinstance(size, int) else tuple(size)
        states = self.model(
            pixel_values=pixels, interpolate_pos_encoding=tuple(pixels.shape[2:]) != usual
        ).last_hidden_state  # (B, N, D)
        pooled = states[:, 0] if POOLED in wants else None  # (B, D)
        if TOKENS not in wants:
            return Features(pooled)
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)  # (B, N)
        return Features(pooled, states, mask, num_prefix=1)
