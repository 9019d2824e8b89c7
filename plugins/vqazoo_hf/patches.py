"""Pictures as patches, for models that keep their aspect (NaFlex). Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor


def naflex_inputs(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """What SigLIP 2's image tower reads of pixels (B, 3, H, W) of one size, none of it padding.

    The patches (B, N, 3 * patch * patch) of transformers' `convert_image_to_patches`.
    """
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    grid = pixels.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, 3, rows, columns, p, p)
    patches = grid.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)  # (B, N, p * p * 3)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(
            patches.shape[:2], dtype=torch.long, device=pixels.device
        ),
        "spatial_shapes": torch.tensor([[rows, columns]] * len(pixels), device=pixels.device),
    }
