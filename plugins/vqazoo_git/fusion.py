"""GIT's input: projected image tokens in front of the question's tokens. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqazoo.errors import IncompatibleError
from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import TOKENS
from vqazoo.toolkit.layers import initialise, to_width


class GITFusion(Fusion):
    """Image tokens through a linear layer and LayerNorm, then the question's: (B, N+L, D).

    `num_prefix` of what comes out is N, the image tokens of all frames. Frame i of a video has an
    embedding (1, 1, C), zero at first, added to each of its tokens before the projection; a single
    picture gets none, as in transformers. Fewer frames than `frames` use the first embeddings.

    A linear layer stands in front of the question's tokens if their width is not `dim`. With
    `image_tokens` off the fused tokens are the question's alone: the paper's claim is that a
    generative model answers from what it sees, which is measured against this.

    Source: Wang et al. 2022, GIT, section 3.1 (network) and 3.4 (videos).
    """

    def __init__(
        self,
        image: TowerSpec,
        text: TowerSpec,
        *,
        dim: int,
        frames: int,
        image_tokens: bool,
    ) -> None:
        super().__init__()
        seen, asked = width(image, TOKENS), width(text, TOKENS)
        dim = dim or asked
        self.project_question = to_width(asked, dim)
        self.sees = image_tokens
        if image_tokens:
            self.project = nn.Sequential(nn.Linear(seen, dim), nn.LayerNorm(dim))
            self.temporal = nn.ParameterList(torch.zeros(1, 1, seen) for _ in range(frames))
        self.frames = frames
        self.out = FusedSpec(TOKENS, dim)
        initialise(self)

    def forward(self, image: Features, text: Features) -> Features:
        """Raises IncompatibleError: a video has more frames than there are embeddings."""
        assert text.tokens is not None
        assert text.mask is not None
        q = self.project_question(text.tokens)  # (B, L, D)
        if not self.sees:
            return Features(tokens=q, mask=text.mask, ids=text.ids)
        assert image.tokens is not None
        assert image.mask is not None
        v = self.project(self._timed(image))  # (B, N, D)
        return Features(
            tokens=torch.cat([v, q], dim=1),  # (B, N+L, D)
            mask=torch.cat([image.mask, text.mask], dim=1),  # (B, N+L)
            num_prefix=v.shape[1],
            ids=text.ids,
        )

    def _timed(self, image: Features) -> Tensor:
        """Tokens (B, N, C) of pictures and videos, each frame of a video with its embedding."""
        tokens, mask, frames = image.tokens, image.mask, image.frames
        assert tokens is not None
        assert mask is not None
        if not frames:
            return tokens
        if frames > len(self.temporal):
            raise IncompatibleError(
                f"The video has {frames} frames, but the fusion 'git' tells {len(self.temporal)} "
                f"apart: give fewer frames, or build it with fusion.args.frames={frames}."
            )
        counts = image.frame_counts
        if counts is None:
            counts = torch.full((len(tokens),), frames, device=tokens.device)  # (B,)
        place = torch.arange(tokens.shape[1], device=tokens.device)  # (N,)
        length = (mask * (place + 1)).amax(dim=1)  # (B,) up to the last real token
        each = (length // counts.clamp(min=1)).clamp(min=1)  # (B,) tokens of a frame
        frame = (place // each[:, None]).clamp(max=frames - 1)  # (B, N)
        time = torch.cat(list(self.temporal), dim=1)[0]  # (F, C)
        shown = mask & (counts > 0)[:, None]  # (B, N)
        return tokens + time[frame] * shown[:, :, None]  # (B, N, C)
