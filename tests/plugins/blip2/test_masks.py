"""Who sees whom in the Q-Former, position by position."""

from __future__ import annotations

import pytest
import torch

from vqazoo_blip2.qformer import QFormer, mask

# 2 queries, 3 text tokens of which the last is padding; a row sees the columns marked with x
EXPECTED = {
    "bidirectional": ["xx xx.", "xx xx.", "xx xx.", "xx xx.", "xx xx."],
    "causal": ["xx ...", "xx ...", "xx x..", "xx xx.", "xx xx."],
    "separate": ["xx ...", "xx ...", ".. xx.", ".. xx.", ".. xx."],
}
KINDS = list(EXPECTED)


def tiny(**changes) -> QFormer:
    torch.manual_seed(0)
    shape = {
        "queries": 2,
        "layers": 3,
        "heads": 2,
        "dim": 8,
        "hidden_dim": 16,
        "cross_frequency": 2,
        "dropout": 0.0,
    }
    return QFormer(6, **{**shape, **changes}).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_the_matrix_of_the_paper(kind):
    text = torch.tensor([[True, True, False], [True, True, True]])
    made = mask(kind, text, queries=2)
    assert made.shape == (2, 1, 5, 5)
    assert made.dtype == torch.bool
    padded = [[sign == "x" for sign in row.replace(" ", "")] for row in EXPECTED[kind]]
    assert made[0, 0].tolist() == padded
    full = torch.tensor(padded)
    full[:, 4] = torch.tensor(
        {
            "bidirectional": [True] * 5,
            "causal": [False, False, False, False, True],
            "separate": [False, False, True, True, True],
        }[kind]
    )
    assert made[1, 0].tolist() == full.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_states_depend_on_exactly_what_the_mask_lets_them_see(kind):
    former = tiny(layers=1)
    parts = list(former.text_parts(1))
    text_mask = torch.tensor([[True, True, False]])
    text = torch.randn(1, 3, 8, requires_grad=True)
    image = torch.randn(1, 4, 6)
    states = former(
        image, torch.ones(1, 4, dtype=torch.bool), text, text_mask, kind=kind, text_parts=parts
    )
    seen = mask(kind, text_mask, 2)[0, 0]
    for row in range(5):
        (slope,) = torch.autograd.grad(states[0, row, 0], text, retain_graph=True)
        (to_query,) = torch.autograd.grad(
            states[0, row, 0], former.queries, retain_graph=True, allow_unused=True
        )
        for column in range(3):
            itself = row == column + 2  # the residual path
            assert bool(slope[0, column].any()) == (itself or bool(seen[row, column + 2]))
        for column in range(2):
            itself = row == column
            assert bool(to_query[0, column].any()) == (itself or bool(seen[row, column]))


@pytest.mark.parametrize("kind", ["causal", "separate"])
def test_queries_never_notice_the_text_in_causal_and_separate_mode(kind):
    former = tiny()
    image, seen = torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)
    alone = former(image, seen)
    for length in (1, 5):
        text, text_mask = torch.randn(2, length, 8), torch.ones(2, length, dtype=torch.bool)
        beside = former(
            image, seen, text, text_mask, kind=kind, text_parts=list(former.text_parts(3))
        )
        torch.testing.assert_close(beside[:, :2], alone)


def test_separate_mode_is_two_passes_in_one():
    former = tiny()
    parts = list(former.text_parts(3))
    image, seen = torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)
    text, text_mask = torch.randn(2, 3, 8), torch.tensor([[True] * 3, [True, True, False]])
    joint = former(image, seen, text, text_mask, kind="separate", text_parts=parts)
    torch.testing.assert_close(joint[:, :2], former(image, seen))
    torch.testing.assert_close(joint[:, 2:], former(None, None, text, text_mask, text_parts=parts))


def test_a_masked_image_token_is_never_read():
    former = tiny()
    image, seen = torch.randn(1, 4, 6), torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(former(image, seen), former(image[:, :3], seen[:, :3]))


def test_cross_attention_stands_in_every_second_layer():
    former = tiny(layers=6)
    assert [layer.has_cross for layer in former.layers] == [True, False] * 3
    assert [hasattr(layer, "cross") for layer in former.layers] == [True, False] * 3
    assert [layer.has_cross for layer in tiny(cross_frequency=3).layers] == [True, False, False]
