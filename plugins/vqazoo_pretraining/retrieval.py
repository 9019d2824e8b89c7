"""Figures of a pretrained model on held-out pairs: retrieval and captions. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.evaluation.metrics.words import bleu, exact_match
from vqazoo.registry import load_object
from vqazoo_pretraining.captions import Pair
from vqazoo_pretraining.loop import Objectives, Pictures

PAIRS = 500  # at most; fewer if fewer captions differ
RERANKED = 16
MATCHED = 256  # pairs judged at once
TRUTH = "vqazoo_tiny_clip.truth:is_true_of"  # tells whether a caption is true of a rendered scene


def distinct_rows(pairs: Sequence[Pair], most: int = PAIRS) -> list[int]:
    """Rows of pairs of which no two share a picture or a caption, at most `most`."""
    images: set[Path] = set()
    captions: set[str] = set()
    rows: list[int] = []
    for row, pair in enumerate(pairs):
        if pair.image not in images and pair.caption not in captions and len(rows) < most:
            images.add(pair.image)
            captions.add(pair.caption)
            rows.append(row)
    return rows


@torch.inference_mode()
def retrieval(
    objectives: Objectives,
    pictures: Pictures,
    rows: Sequence[int],
    captions: Sequence[str],
    matching: bool,
) -> dict[str, Any]:
    """Recall at 1 and 5, both ways, by the contrastive similarity and after re-ranking.

    The best 16 of each query are ordered anew by the matching head, as in the paper's retrieval
    (BLIP, section 5.1, which takes 256 or 128 of 5,000); equal ones keep their order.

    Args:
        rows, captions: caption i belongs to the picture of row i.
        matching: whether the matching head was trained.
    """
    similarity = objectives.similarity(pictures.batch(rows), captions)  # (n, n)
    figures: dict[str, Any] = {"pairs": len(rows), "by_similarity": {}}
    if matching:
        figures |= {"re_ranked": {}, "re_ranked_of_each": min(RERANKED, len(rows))}
    for name, matrix in (("image_to_text", similarity), ("text_to_image", similarity.T)):
        order = matrix.argsort(dim=1, descending=True, stable=True)[:, :RERANKED]  # (n, k)
        figures["by_similarity"] |= recall(order, name)
        if matching:
            query = torch.arange(len(rows))[:, None].expand_as(order).flatten()  # (n*k,)
            other = order.flatten().cpu()  # (n*k,)
            image, text = (query, other) if name == "image_to_text" else (other, query)
            matches = match_all(
                objectives,
                pictures,
                [rows[i] for i in image.tolist()],
                [captions[i] for i in text.tolist()],
            )
            better = matches.view(order.shape).argsort(  # (n, k)
                dim=1, descending=True, stable=True
            )
            figures["re_ranked"] |= recall(order.cpu().gather(1, better), name)
    return figures


def recall(order: Tensor, name: str) -> dict[str, float]:
    """Share of rows i whose own number i is among the first 1 and 5 of order (n, k)."""
    hit = order == torch.arange(len(order), device=order.device)[:, None]  # (n, k)
    return {
        f"{name}_recall_at_{k}": round(hit[:, :k].any(dim=1).float().mean().item(), 4)
        for k in (1, 5)
    }


@torch.inference_mode()
def match_all(
    objectives: Objectives, pictures: Pictures, rows: Sequence[int], captions: Sequence[str]
) -> Tensor:
    """Probabilities (n,) on the CPU that caption i fits the picture of row i."""
    parts = [
        objectives.match(pictures.batch(rows[at : at + MATCHED]), captions[at : at + MATCHED])
        for at in range(0, len(rows), MATCHED)
    ]
    return torch.cat(parts).cpu()


def captioning(texts: Sequence[str], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Figures of written captions against the given ones.

    Of rendered pictures also the share of captions that are true of what was drawn, which is the
    fairer figure, since many captions are true of one picture.
    """
    given = [pair.caption for pair in pairs]
    scores = bleu(texts, given)
    matched = [exact_match(text, [reference]) for text, reference in zip(texts, given, strict=True)]
    figures: dict[str, Any] = {
        "pictures": len(texts),
        "exact_match": round(sum(matched) / len(texts), 4),
        "bleu_4": round(scores.corpus[3], 4),
        "bleu_signature": scores.corpus_signature,
        "distinct": len(set(texts)),
    }
    true = truths(texts, pairs)
    if true is not None:
        figures["true"] = round(sum(true) / len(texts), 4)
    return figures


def truths(texts: Sequence[str], pairs: Sequence[Pair]) -> list[bool] | None:
    """Whether text i is true of picture i; None unless all were rendered with their objects."""
    if not all(pair.objects for pair in pairs):
        return None
    is_true = load_object(TRUTH)
    return [bool(is_true(text, pair.objects)) for text, pair in zip(texts, pairs, strict=True)]
