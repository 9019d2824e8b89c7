"""The conformance kit finds tensors on the wrong device, without another device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.testing.test_conformance_kit import offer  # noqa: F401
from vqazoo.interfaces import Features
from vqazoo.testing import ToyEncoder, check_encoder, check_fusion, check_head
from vqazoo.testing.devices import Elsewhere, elsewhere, sent
from vqazoo_fusions.cross_attention import CrossAttention
from vqazoo_fusions.manifest import CROSS_ATTENTION, SUM
from vqazoo_fusions.pooled import Sum
from vqazoo_heads.manifest import MLP
from vqazoo_heads.mlp import MLPHead

BOTH = frozenset({"image", "text"})


def toy(cls: type[ToyEncoder]) -> ToyEncoder:
    torch.manual_seed(0)
    return cls(None, BOTH, width=16, vocabulary=258).eval()


def test_a_mask_of_an_encoder_on_the_cpu_is_found() -> None:
    class OnCPU(ToyEncoder):
        def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
            found = super().encode_image(pixels, wants)
            if found.tokens is None:
                return found
            return Features(
                found.pooled, found.tokens, torch.ones(found.tokens.shape[:2], dtype=torch.bool), 1
            )

    with pytest.raises(AssertionError, match="image tower: its mask is on the CPU"):
        check_encoder(toy(OnCPU))


def test_a_mask_that_an_operation_needs_is_found() -> None:
    class OnCPU(ToyEncoder):
        def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
            places = torch.arange(ids.shape[1])  # on the CPU, whatever the device of ids
            mask = mask & (places < mask.sum(dim=1, keepdim=True))
            return super().encode_text(ids, mask, wants)

    with pytest.raises(AssertionError, match="on another device than the CPU it fails"):
        check_encoder(toy(OnCPU))


def test_a_tensor_that_is_no_buffer_is_found(offer: Any) -> None:  # noqa: F811
    class Attribute(Sum):
        def __init__(self, image: Any, question: Any, *, dim: int) -> None:
            super().__init__(image, question, dim=dim)
            self.scale = torch.ones(dim)  # not registered, so it does not move with the fusion

        def forward(self, image: Features, question: Features) -> Features:
            return Features(super().forward(image, question).pooled * self.scale)

    offer("fusion", SUM, Attribute)
    with pytest.raises(AssertionError, match="'faulty': on another device than the CPU it fails"):
        check_fusion("faulty")


def test_a_mask_of_a_fusion_on_the_cpu_is_found(offer: Any) -> None:  # noqa: F811
    class OnCPU(CrossAttention):
        def forward(self, image: Features, question: Features) -> Features:
            real = torch.zeros(image.mask.shape, dtype=torch.bool)  # type: ignore[union-attr]
            real |= True
            masked = image.tokens.masked_fill(~real[:, :, None], 0)  # type: ignore[union-attr]
            return super().forward(
                Features(image.pooled, masked, image.mask, image.num_prefix), question
            )

    offer("fusion", CROSS_ATTENTION, OnCPU)
    with pytest.raises(AssertionError, match="masked_fill was given a tensor"):
        check_fusion("faulty")


def test_a_head_that_makes_its_targets_on_the_cpu_in_the_loss_is_found(
    offer: Any,  # noqa: F811
) -> None:
    class OnCPU(MLPHead):
        def loss(self, fused: Features, targets: Any) -> Any:
            kept = torch.ones(len(fused), dtype=torch.bool)
            loss, parts = super().loss(fused, targets)
            return loss + 0 * (fused.pooled.sum(dim=1) * kept).sum(), parts

    offer("head", MLP, OnCPU)
    with pytest.raises(AssertionError, match="mul was given a tensor"):
        check_head("faulty")


def test_what_a_gpu_allows_is_allowed() -> None:
    class Fine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.arange(6.0).view(2, 3))

        def forward(self, x: Tensor) -> Tensor:
            rows = torch.tensor([1, 0])  # indices may come from the CPU
            made = torch.tensor([[2.0, 0.0, 1.0]], device=x.device)
            made[:, [1]] = 5.0
            kept = self.weight[rows] * torch.tensor(2.0)  # and so may a single number
            cache = torch.cat([torch.tensor([], device=x.device), made.new_zeros(1, 3)])
            copied = torch.zeros(2, 3).to(x.device)
            assert x.sum().item() == 6
            assert x.tolist()[0] == [1.0, 1.0, 1.0]
            return kept + made + cache + copied + x

    module = Fine()
    x = torch.ones(2, 3)
    with elsewhere("Fine", module):
        there = module(sent(x))
        assert isinstance(there, Elsewhere)
        assert isinstance(there.cpu(), Tensor)
        assert not isinstance(there.cpu(), Elsewhere)
        found = there.tolist()
    assert found == module(x).tolist()
    assert isinstance(module.weight, nn.Parameter)


def test_parts_are_checked_by_class_and_by_object_too() -> None:
    check_encoder("tiny-clip")
    check_fusion(CrossAttention, dim=16, heads=2, layers=1)
    check_head(MLPHead, hidden_dim=8)
    from vqazoo.interfaces import FusedSpec, TowerSpec
    from vqazoo.testing.heads import KNOWN_ANSWERS
    from vqazoo.testing.toy import toy_encoder

    image, question = TowerSpec(7, None), TowerSpec(9, None)
    check_fusion(Sum(image, question, dim=5), image=image, text=question)
    made = MLPHead(
        FusedSpec("pooled", 12),
        KNOWN_ANSWERS,
        toy_encoder(),
        hidden_dim=8,
        dropout=0.0,
        label_smoothing=0.0,
        balance=0.0,
    )
    check_head(made, dim=12)


def test_a_class_in_no_manifest_is_told() -> None:
    class Mine(Sum):
        pass

    with pytest.raises(TypeError, match="in no installed manifest: pass its manifest"):
        check_fusion(Mine)
    check_fusion(Mine, manifest=SUM, dim=4)
