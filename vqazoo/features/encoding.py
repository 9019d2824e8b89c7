"""What towers make of pictures, videos and questions: features, a row each. Imports torch.

pictures.py reads the files, filling.py keeps what frozen towers give, and sources.py makes batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from vqazoo.config import Block
from vqazoo.errors import ImageError, IncompatibleError
from vqazoo.interfaces import Encoder, Features
from vqazoo.media.video import is_video

READ_BY = {"image": "image", "text": "question"}  # what the towers read: in caches and messages
PADDED = ("tokens", "mask")  # tensors whose rows differ in length

Seen = Tensor | list[Tensor]  # pixels (3, H, W) of a picture, or of each frame of a video


class Towers(Protocol):
    """What features are made with: the part of a `VQAModel` before the fusion."""

    wants_image: frozenset[str]
    wants_text: frozenset[str]

    @property
    def frames(self) -> int:
        """How many frames of a video are read; 0: it reads pictures only."""
        ...

    @property
    def image_encoder(self) -> Encoder: ...

    @property
    def text_encoder(self) -> Encoder: ...

    @property
    def blocks(self) -> tuple[Block, Block]:
        """Config of the image and of the text encoder."""
        ...

    @property
    def device(self) -> torch.device: ...

    def holds_tower(self, side: str) -> bool: ...

    def encode_image(self, pixels: Tensor) -> Features: ...

    def encode_text(self, texts: Sequence[str]) -> Features: ...


def encode_seen(towers: Towers, seen: Sequence[Seen]) -> Features:
    """Image features of B pictures and videos in any order; token rows are padded, masked."""
    pictures = [row for row, medium in enumerate(seen) if isinstance(medium, Tensor)]
    clips = [row for row, medium in enumerate(seen) if not isinstance(medium, Tensor)]
    parts = [as_video(encode_pictures(towers, seen[row])) for row in clips]  # type: ignore[arg-type]
    if pictures or not parts:
        parts.append(encode_pictures(towers, [seen[row] for row in pictures]))  # type: ignore[misc]
    if len(parts) == 1:
        return parts[0]
    order = torch.tensor(clips + pictures).argsort()  # (B,)
    return stack(parts).index(order.to(towers.device))


def encode_pictures(towers: Towers, pictures: Sequence[Tensor]) -> Features:
    """Image features of B pictures (3, H, W); those of one size are encoded together."""
    shapes: dict[torch.Size, list[int]] = {}
    for row, picture in enumerate(pictures):
        shapes.setdefault(picture.shape, []).append(row)
    encoded = [
        towers.encode_image(torch.stack([pictures[row] for row in rows]))  # (b, 3, H, W)
        for rows in shapes.values()
    ]
    if len(encoded) == 1:
        return encoded[0]
    order = torch.tensor([row for rows in shapes.values() for row in rows]).argsort()  # (B,)
    return stack(encoded).index(order.to(towers.device))


def as_video(frames: Features) -> Features:
    """One video of F frames: token features (F, N, D) one after the other, (1, F*N, D).

    Raises:
        IncompatibleError: the image tower gave no tokens.
    """
    if frames.tokens is None or frames.mask is None:
        raise IncompatibleError(
            "A video needs token features of its frames, but the fusion asks for pooled ones only."
        )
    return Features(
        tokens=frames.tokens.flatten(0, 1)[None],  # (1, F*N, D)
        mask=frames.mask.flatten()[None],  # (1, F*N)
        num_prefix=frames.num_prefix,
        frames=len(frames),
        frame_counts=torch.tensor([len(frames)], device=frames.tokens.device),
    )


def need_frames(towers: Towers, source: Any) -> int:
    """How many frames of a video are read at most.

    Raises:
        ImageError: pictures alone are read.
    """
    if not towers.frames:
        named = f"'{source}' is a video" if is_video(source) else "This is a video"
        raise ImageError(
            f"{named}, but the fusion of this model reads pictures, not videos: give one frame, or "
            f"a model whose fusion 'git' has frames above 0."
        )
    return towers.frames


def stack(batches: Sequence[Features]) -> Features:
    """One Features out of many batches; token rows are padded to the longest, masked."""
    named = [batch.tensors() for batch in batches]
    if any("frame_counts" in tensors for tensors in named):
        for batch, tensors in zip(batches, named, strict=True):
            if "frame_counts" not in tensors:
                tensors["frame_counts"] = torch.zeros(
                    len(batch), dtype=torch.long, device=next(iter(tensors.values())).device
                )
    longest = max((t["tokens"].shape[1] for t in named if "tokens" in t), default=0)
    joined = {
        name: torch.cat([pad(t[name], longest) if name in PADDED else t[name] for t in named])
        for name in named[0]
    }
    asked = [batch.ids for batch in batches if batch.ids is not None]
    most = max((ids.shape[1] for ids in asked), default=0)
    ids = [
        F.pad(question_ids, (0, most - question_ids.shape[1]), value=-1) for question_ids in asked
    ]
    known = torch.cat(ids) if ids and len(ids) == len(batches) else None
    return Features(
        **joined,
        num_prefix=batches[0].num_prefix,
        frames=max(batch.frames for batch in batches),
        ids=known,
        ocr_tokens=None,
    )


def pad(tensor: Tensor, length: int) -> Tensor:
    """Pad token rows (B, N, ...) with zeros to (B, length, ...)."""
    missing = length - tensor.shape[1]
    if not missing:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1)
