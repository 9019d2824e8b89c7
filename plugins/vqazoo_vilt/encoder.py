"""The embeddings of transformers' ViLT models as towers.

Imports torch, and transformers when one is built.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    ImageTowerSpec,
    Preprocess,
    TextTowerSpec,
)
from vqazoo.toolkit.pictures import read_fitting
from vqazoo.toolkit.published import fill_towers, read_weights
from vqazoo.toolkit.transformers import Repository, TextCodec

IMAGE_PARTS = ("cls_token", "position_embeddings", "patch_embeddings")


class HFViltEncoder(Encoder):
    """What a ViLT model does before its transformer; a tower that is not asked for is dropped.

    Image tokens are a class token and linear projections of the patches, row by row, with position
    embeddings bilinearly resized to the picture's own size (num_prefix 1); pictures keep their
    aspect. Text tokens are BERT's embeddings: words, positions and segment 0, then LayerNorm.
    The embedding of the modality is left to the fusion `vilt`.

    transformers shuffles the patches, which attention does not notice; here they stay in order.
    Source: Kim, Son & Kim 2021, ViLT, sections 3.1 and 4.1.
    """

    def __init__(self, variant: str | None, towers: frozenset[str]) -> None:
        super().__init__()
        assert variant is not None
        from transformers.models.vilt.modeling_vilt import ViltEmbeddings

        self._repository = Repository(variant)
        self.files = self._repository.files(towers)
        config = self._repository.config_of("hf-vilt", "vilt", "dandelin/vilt-b32-finetuned-vqa")
        with self._repository.building():
            self.embeddings: Any = ViltEmbeddings(config)
        del self.embeddings.token_type_embeddings  # of the modality
        dim = config.hidden_size
        image = text = None
        if "image" in towers:
            preprocess = read_fitting(self._repository)
            _check_patches(variant, config, preprocess)
            image = ImageTowerSpec(None, dim, preprocess=preprocess)
        else:
            for name in IMAGE_PARTS:
                delattr(self.embeddings, name)
        if "text" in towers:
            tokenizer = self._repository.tokenizer()
            if len(tokenizer) > config.vocab_size:
                raise WeightsError(
                    f"The tokenizer of '{variant}' has {len(tokenizer):,} tokens, but its model "
                    f"{config.vocab_size:,}: get both from one revision."
                )
            for counted in ("position_ids", "token_type_ids"):  # not saved, and given below
                delattr(self.embeddings.text_embeddings, counted)
            self.codec = codec = TextCodec(tokenizer, config.max_position_embeddings)
            self.start_id, self.end_id = codec.start_id, codec.end_id
            text = TextTowerSpec(None, dim, context_length=config.max_position_embeddings)
        else:
            self.embeddings.text_embeddings = None
        self.spec = EncoderSpec(image, text)

    def load_pretrained(self) -> None:
        tensors, reference = read_weights(self._repository)
        renamed = {name.removeprefix("vilt."): tensor for name, tensor in tensors.items()}
        fill_towers(self, renamed, self._repository.folder, "ViLT")
        self.reference = reference.result()

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        part = self.embeddings
        patches = part.patch_embeddings(pixels)  # (B, D, H', W')
        side = part.patch_embeddings.image_size[0] // part.patch_embeddings.patch_size[0]
        places = part.position_embeddings  # (1, 1 + side * side, D), the first of the class token
        grid = places[:, 1:].transpose(1, 2).unflatten(2, (side, side))  # (1, D, side, side)
        grid = F.interpolate(grid, patches.shape[2:], mode="bilinear", align_corners=True)
        v = (patches + grid).flatten(2).transpose(1, 2)  # (B, N - 1, D)
        first = (part.cls_token + places[:, :1]).expand(len(v), -1, -1)  # (B, 1, D)
        v = part.dropout(torch.cat([first, v], dim=1))  # (B, N, D)
        mask = torch.ones(v.shape[:2], dtype=torch.bool, device=v.device)  # (B, N)
        return Features(tokens=v, mask=mask, num_prefix=1)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        places = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, L)
        q = self.embeddings.text_embeddings(ids, torch.zeros_like(ids), places)  # (B, L, D)
        return Features(tokens=q, mask=mask)

    def lend(self, name: str) -> nn.Module:
        if name != "token_embedding" or self.embeddings.text_embeddings is None:
            raise IncompatibleError(
                f"This hf-vilt encoder lends no '{name}': it lends the token_embedding of its text "
                f"tower."
            )
        embedding: nn.Module = self.embeddings.text_embeddings.word_embeddings
        return embedding


def _check_patches(variant: str, config: Any, preprocess: Preprocess) -> None:
    """Raises IncompatibleError where the config asks for what is not built here."""
    patch, size = config.patch_size, config.image_size
    if not isinstance(patch, int) or not isinstance(size, int) or preprocess.multiple % patch:
        raise IncompatibleError(
            f"'{variant}' cuts pictures of sides in multiples of {preprocess.multiple} into "
            f"patches of {patch} for a size of {size}, but square patches that divide the sides "
            f"were expected: correct config.json or preprocessor_config.json."
        )
    most = preprocess.size[0] * preprocess.size[1] // patch**2
    if 0 <= config.max_image_length < most:
        raise IncompatibleError(
            f"'{variant}' reads {config.max_image_length} patches drawn at random from up to "
            f"{most}, so its answers would vary: set max_image_length to -1 in its config.json, as "
            f"the published ones have it."
        )
