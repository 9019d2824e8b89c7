"""Image models of transformers as image towers. Imports torch; transformers when one is built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, ImageTowerSpec, Preprocess
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.pictures import read_patches, read_preprocess
from vqazoo.toolkit.transformers import Repository, load_into
from vqazoo_hf.image_types import CLS, IMAGE_TYPES, MEAN, POOLER, image_type, unknown
from vqazoo_hf.patches import naflex_inputs
from vqazoo_hf.precision import in_single

AUTO = "auto"


class HFImageEncoder(Encoder):
    """The image tower of a transformers model, without its classifier.

    Tokens are its last states: maps are flattened row by row, class and register tokens come first
    (`num_prefix`). Pooled is, by `pooling`: `pooler` the model's `pooler_output`, `cls` the first
    state, `mean` the mean over the states of patches; `auto` what the table `IMAGE_TYPES` says that
    the release of the type takes. A model without such a vector (AIMv2) offers tokens only. Pooled
    vectors are not normalised. Pictures are prepared as the repository's own file says.
    """

    def __init__(self, variant: str | None, towers: frozenset[str], *, pooling: str) -> None:
        super().__init__()
        assert variant is not None
        if "text" in towers:
            raise IncompatibleError(
                "The encoder 'hf-image' has no text tower: add one, for instance "
                "--text-encoder minilm."
            )
        from transformers import AutoModel

        self._repository = Repository(variant)
        self.files = self._repository.files(towers)
        config = in_single(self._repository.config())
        self._type = image_type(config, variant)
        self._known = config.model_type in IMAGE_TYPES
        self._config = config.vision_config if self._type.tower else config
        if self._type.naflex:
            preprocess = read_patches(self._repository, self._config.patch_size)
        else:
            preprocess = read_preprocess(self._repository)
        self._prefix = self._type.prefix_tokens(self._config, variant)
        with self._repository.building():
            self.model: Any = AutoModel.from_config(config)
        if self._type.tower:
            for name, _ in list(self.model.named_children()):
                if name != self._type.tower:
                    setattr(self.model, name, None)
        self._pooling = self._pooled_as(pooling, config)
        if self._pooling != POOLER and getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # which has no weights in such a file
        self.spec = EncoderSpec(self._measure(variant, config.model_type, preprocess))

    def _pooled_as(self, pooling: str, config: Any) -> str:
        """How pictures are pooled: `pooler`, `cls`, `mean` or the name of an output."""
        if pooling == CLS and self._prefix == 0:
            raise IncompatibleError(
                f"'{self._repository.place}' has no class token, so pooling=cls takes nothing: "
                f"set image_encoder.args.pooling to mean, or leave it out."
            )
        if pooling != AUTO:
            return pooling
        learnt, saved = self._type.pooler_of, tuple(config.architectures or ())
        return self._type.without if learnt and not set(learnt) & set(saved) else self._type.pooled

    @torch.no_grad()
    def _measure(self, place: str, model_type: str, preprocess: Preprocess) -> ImageTowerSpec:
        """Widths from one forward pass: configs have no uniform value."""
        self.eval()
        try:
            size = (preprocess.multiple,) * 2 if self._type.naflex else preprocess.size
            out = self._read(torch.zeros(1, 3, *size))
        except Exception as error:  # whatever a model says of a size that it does not read
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise IncompatibleError(
                f"'{place}' does not read pictures of {preprocess.size[0]} x {preprocess.size[1]} "
                f"pixels, which its own preprocessor makes ({reason}): get config.json and "
                f"preprocessor_config.json from one revision."
            ) from error
        states = getattr(out, "last_hidden_state", None)
        vector = getattr(out, "pooler_output", None)
        if states is None or states.dim() not in (3, 4):
            raise unknown(model_type, place)
        if not self._known and (
            states.dim() != 4 or vector is None or states.shape[1] != vector.flatten(1).shape[1]
        ):
            raise unknown(model_type, place)
        pooled = self._pooled(out)
        return ImageTowerSpec(
            None if pooled is None else pooled.shape[1],
            _as_tokens(states).shape[2],
            preprocess=preprocess,
        )

    def _read(self, pixels: Tensor) -> Any:
        model = getattr(self.model, self._type.tower) if self._type.tower else self.model
        if self._type.naflex:
            return model(**naflex_inputs(pixels, self._config.patch_size))
        return model(pixel_values=pixels)

    def _pooled(self, out: Any) -> Tensor | None:
        """The vectors (B, D) of an output, if it has any."""
        tokens = _as_tokens(out.last_hidden_state)  # (B, N, D)
        if self._pooling == CLS:
            return tokens[:, 0]
        if self._pooling == MEAN:
            return tokens[:, self._prefix :].mean(dim=1)
        name = "pooler_output" if self._pooling == POOLER else self._pooling
        vector = getattr(out, name, None)
        return None if vector is None else vector.flatten(1)  # (B, D) of (B, D) or (B, D, 1, 1)

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        folder = self._repository.folder
        try:
            load_into(self.model, folder)
        except WeightsError as error:
            if "pooler" not in str(error):
                raise
            raise WeightsError(
                f"{error} Or do without its pooler, which was never trained: set "
                f"image_encoder.args.pooling to cls or mean."
            ) from error

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        out = self._read(pixels)
        pooled = tokens = mask = None
        if POOLED in wants:
            pooled = self._pooled(out)
            if pooled is None:
                raise IncompatibleError(
                    f"'{self._repository.place}' has no pooled vector, only tokens: set "
                    f"image_encoder.args.pooling to mean."
                )
        if TOKENS in wants:
            tokens = _as_tokens(out.last_hidden_state)  # (B, N, D)
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask, self._prefix)


def _as_tokens(states: Tensor) -> Tensor:
    """Tokens (B, N, D) of last states, which may be a map (B, D, H, W)."""
    return states.flatten(2).transpose(1, 2) if states.dim() == 4 else states
