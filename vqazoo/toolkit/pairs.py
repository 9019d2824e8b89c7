"""What objectives over a batch of pictures and their captions share. Imports torch.

Source: Li et al. 2022, BLIP, section 3.2; Li et al. 2023, BLIP-2, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqazoo.interfaces import Encoder, Features
from vqazoo.toolkit.rows import ids_and_mask
from vqazoo.toolkit.shares import ALONE, Share

TEMPERATURES = (0.001, 0.5)  # between which BLIP and BLIP-2 keep the learnt one


def caption_ids(
    codec: Encoder, captions: Sequence[str], start: int, longest: int
) -> tuple[Tensor, Tensor]:
    """Captions as [start, pieces, end]: ids (B, T) int64 and mask (B, T) bool, T at most `longest`.

    A caption that is too long loses its end, but not the end token.
    """
    rows = [[start, *ids[: longest - 2], codec.end_id] for ids in codec.pieces(captions)]
    return ids_and_mask(rows, codec.end_id)


def part_of(
    image: Features, ids: Tensor, mask: Tensor, share: Share
) -> tuple[Features, Tensor, Tensor]:
    """A share's rows of B pictures and their captions, ids and mask (B, T)."""
    if share.alone:
        return image, ids, mask
    own = share.rows(len(ids))
    return image.index(own), ids[own], mask[own]


def draw_negatives(chances: Tensor, alike: Tensor, share: Share = ALONE) -> tuple[Tensor, Tensor]:
    """For each row that has one, a column that is no match, drawn by its chance.

    Of several processes the first draws for all.

    Args:
        chances: (B, B), at least 0, in any unit.
        alike: (B, B) bool, True where a column is no negative, as each row's own is.

    Returns:
        rows (M,) and their columns (M,), M at most B.
    """
    rows = (~alike).any(dim=1).nonzero().squeeze(1)  # (M,)
    if not len(rows):
        return rows, rows
    if share.rank:
        return rows, share.of_first(torch.zeros_like(rows))
    drawn = torch.multinomial(chances[rows].masked_fill(alike[rows], 0), 1).squeeze(1)  # (M,)
    return rows, share.of_first(drawn)


def matching_loss(
    match_logits: Callable[[Features, Tensor, Tensor], Tensor],
    image: Features,
    ids: Tensor,
    mask: Tensor,
    *false: tuple[Tensor, Tensor],
    share: Share = ALONE,
) -> Tensor:
    """Cross-entropy of no match and match over B true pairs and some false ones.

    Of several processes, each reads its share of all these pairs.

    Args:
        match_logits: from pictures (P, N, C), ids (P, T) and mask (P, T) to scores (P, 2).
        image: B pictures, of which row i has the caption in row i of ids and mask (B, T).
        false: rows (M,) of pictures and of the captions that they do not have.
    """
    every = torch.arange(len(ids), device=ids.device)  # (B,)
    pictures = torch.cat([every, *(pair[0] for pair in false)])  # (P,)
    texts = torch.cat([every, *(pair[1] for pair in false)])  # (P,)
    labels = (torch.arange(len(pictures), device=ids.device) < len(ids)).long()  # (P,)
    own = share.rows(len(labels))
    read = image.index(pictures[own]), ids[texts[own]], mask[texts[own]]
    return share.cross_entropy(match_logits(*read), labels[own], len(labels))
