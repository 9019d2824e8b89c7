"""Retrieval and captioning figures on small cases that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqazoo_pretraining.captions import Pair, read_pairs
from vqazoo_pretraining.retrieval import captioning, distinct_rows, recall, retrieval, truths


class Known:
    """Objectives with a given similarity, and a match for pairs of equal numbers or a given set."""

    def __init__(self, similarity, matches):
        self.matrix, self.matches, self.judged = similarity, matches, []

    def similarity(self, image, captions):
        return self.matrix

    def match(self, image, captions):
        pairs = [(row, int(text)) for row, text in zip(image, captions, strict=True)]
        self.judged += pairs
        return torch.tensor([self.matches(*pair) for pair in pairs])


class Numbers:
    """Pictures whose features are their numbers."""

    def batch(self, rows):
        return list(rows)


def test_recall_counts_queries_whose_own_number_comes_first():
    order = torch.tensor([[0, 1, 2], [2, 1, 0], [0, 1, 3], [3, 0, 1]])
    assert recall(order, "x") == {"x_recall_at_1": 0.5, "x_recall_at_5": 0.75}


def test_similarity_ranks_and_matching_reorders_both_ways():
    # Picture 0 prefers caption 1; caption 0 prefers picture 0. 2 and 3 are each other's best.
    similarity = torch.tensor(
        [[0.5, 0.9, 0.0, 0.0], [0.1, 0.8, 0.0, 0.0], [0.0, 0.0, 0.2, 0.9], [0.0, 0.0, 0.8, 0.1]]
    )
    known = Known(similarity, lambda image, text: float(image == text or (image, text) == (2, 3)))
    found = retrieval(known, Numbers(), range(4), ["0", "1", "2", "3"], matching=True)
    assert found["pairs"] == found["re_ranked_of_each"] == 4
    by = found["by_similarity"]
    assert (by["image_to_text_recall_at_1"], by["text_to_image_recall_at_1"]) == (0.25, 0.25)
    # 2 ties with (2, 3), which was more similar, both from the picture and from the caption.
    again = found["re_ranked"]
    assert (again["image_to_text_recall_at_1"], again["text_to_image_recall_at_1"]) == (0.75, 0.75)
    assert again["image_to_text_recall_at_5"] == 1.0


def test_only_the_most_similar_sixteen_are_judged():
    similarity = torch.eye(20).flip(0)  # the own one is last but for ties
    known = Known(similarity, lambda image, text: float(image == text))
    found = retrieval(known, Numbers(), range(20), [str(n) for n in range(20)], matching=True)
    assert len(known.judged) == 2 * 20 * 16
    kept = similarity.argsort(dim=1, descending=True, stable=True)[:, :16].tolist()
    expected = sum(row in kept[row] for row in range(20)) / 20
    assert 0 < expected < 1
    assert found["re_ranked"]["image_to_text_recall_at_1"] == pytest.approx(expected)
    assert "re_ranked" not in retrieval(known, Numbers(), range(20), ["0"] * 20, matching=False)


def test_pairs_to_rank_share_neither_picture_nor_caption():
    pairs = [
        Pair(Path(f"{image}.png"), caption, "")
        for image, caption in [("a", "x"), ("a", "y"), ("b", "x"), ("c", "z"), ("d", "w")]
    ]
    assert distinct_rows(pairs) == [0, 3, 4]
    assert distinct_rows(pairs, most=2) == [0, 3]


def test_written_captions_are_compared_and_judged_for_truth(shapes):
    pairs = read_pairs([shapes])[:30]
    given = [pair.caption for pair in pairs]
    assert truths(given, pairs) == [True] * 30
    found = captioning(given, pairs)
    assert (found["exact_match"], found["bleu_4"], found["true"]) == (1.0, 1.0, 1.0)
    moved = captioning(given[1:] + given[:1], pairs)
    assert moved["exact_match"] < 0.3
    assert moved["bleu_4"] < 0.6
    assert moved["true"] < 0.4
    assert "true" not in captioning(given, [Pair(p.image, p.caption, p.id) for p in pairs])
