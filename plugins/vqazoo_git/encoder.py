"""The image tower and the text embeddings of transformers' GIT models.

Imports torch, and transformers when one is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqazoo.errors import IncompatibleError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, ImageTowerSpec, TextTowerSpec
from vqazoo.toolkit.pictures import read_preprocess
from vqazoo.toolkit.rows import ids_and_mask
from vqazoo.toolkit.transformers import Repository, TextCodec, load_into

QUESTION_CAP = 38  # tokens, as published: a text has at most 40 with its start and end


class HFGitEncoder(Encoder):
    """What a GIT model does before its transformer; a tower that is not asked for is dropped.

    Image tokens are all states of its CLIP image encoder after the last LayerNorm, the class token
    first (num_prefix 1). Text tokens are word + position embeddings with LayerNorm of [CLS] and
    the question, without [SEP]: what follows is the answer. An empty question, [CLS] alone, asks
    for a caption. Of a long question the last 38 tokens are kept, as in the original.

    Source: Wang et al. 2022, GIT, section 3.1; the authors' GenerativeImage2Text.
    """

    def __init__(self, variant: str | None, towers: frozenset[str]) -> None:
        super().__init__()
        assert variant is not None
        from transformers.models.git.modeling_git import GitVisionModel

        self._repository = Repository(variant)
        self.files = self._repository.files(towers)
        config = self._repository.config_of("hf-git", "git", "microsoft/git-base-vqav2")
        image = text = None
        longest = min(QUESTION_CAP + 2, config.max_position_embeddings)
        # the parts are named as transformers names them
        if "image" in towers:
            vision = config.vision_config
            with self._repository.building():
                self.image_encoder: Any = GitVisionModel(vision)
            self._size = (vision.image_size, vision.image_size)
            preprocess = read_preprocess(self._repository)
            image = ImageTowerSpec(None, vision.hidden_size, preprocess=preprocess)
        if "text" in towers:
            with self._repository.building():
                self.embeddings = GitTextEmbedding(
                    config.vocab_size,
                    config.max_position_embeddings,
                    config.hidden_size,
                    config.layer_norm_eps,
                    config.hidden_dropout_prob,
                )
            self.codec = codec = GitCodec(self._repository.tokenizer(), longest)
            self.start_id, self.end_id = codec.start_id, codec.end_id
            text = TextTowerSpec(None, config.hidden_size, context_length=longest)
        self.spec = EncoderSpec(image, text)

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        load_into(self, self._repository.folder)

    def count_positions(self) -> None:
        """Make what no file stores, where the model was made without values."""
        part = self.image_encoder.vision_model.embeddings
        part.position_ids = torch.arange(part.num_positions)[None]  # (1, N)

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        """See Encoder.encode_image; positions are interpolated if the size is not the model's."""
        other = pixels.shape[2:] != self._size
        out = self.image_encoder(pixel_values=pixels, interpolate_pos_encoding=other)
        tokens = out.last_hidden_state  # (B, N, C)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)  # (B, N)
        return Features(tokens=tokens, mask=mask, num_prefix=1)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        first = torch.zeros_like(ids[:, 0])  # (B,)
        return Features(tokens=self.embeddings(ids, first), mask=mask)  # (B, L, D)

    def lend(self, name: str) -> nn.Module:
        if self.spec.text is None or name not in ("token_embedding", "text_embedding"):
            raise IncompatibleError(
                f"This hf-git encoder lends no '{name}': it lends the token_embedding and the "
                f"text_embedding of its text tower."
            )
        return self.embeddings if name == "text_embedding" else self.embeddings.word_embeddings


class GitTextEmbedding(nn.Module):
    """Word plus learnt position embedding, counting text only, then LayerNorm."""

    def __init__(
        self, vocabulary: int, positions: int, dim: int, epsilon: float, dropout: float
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, dim)
        self.position_embeddings = nn.Embedding(positions, dim)
        self.LayerNorm = nn.LayerNorm(dim, epsilon)
        self.dropout = nn.Dropout(dropout)

    @property
    def positions(self) -> nn.Embedding:
        """The position embeddings (P, D)."""
        return self.position_embeddings

    def forward(self, ids: Tensor, first: Tensor) -> Tensor:
        """Embeddings (B, T, D) of ids (B, T), the first of which stand at the places (B,)."""
        places = first[:, None] + torch.arange(ids.shape[1], device=ids.device)  # (B, T)
        x = self.word_embeddings(ids) + self.position_embeddings(places)  # (B, T, D)
        out: Tensor = self.dropout(self.LayerNorm(x))  # (B, T, D)
        return out


class GitCodec(TextCodec):
    """A BERT tokenizer whose questions start with [CLS], have no [SEP], and keep their end."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool."""
        kept = self.context_length - 2
        rows = [[self.start_id, *ids[-kept:]] for ids in self.pieces(texts)]
        return ids_and_mask(rows, self.pad_id)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens that were written say nothing."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()
