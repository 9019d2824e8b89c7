"""The contract of fusions. Imports torch."""

from __future__ import annotations

from typing import Any

import torch

from vqazoo.errors import IncompatibleError, renamed
from vqazoo.interfaces import AttendsToImage, Features, FusedSpec, Fusion, TowerSpec
from vqazoo.manifests import POOLED, TOKENS, FusionManifest
from vqazoo.testing.checks import (
    check_fused,
    check_gradients,
    check_signature,
    generator,
    only,
    random_features,
    require,
    require_close,
    require_same,
    with_padding,
)
from vqazoo.testing.devices import elsewhere, require_elsewhere, sent
from vqazoo.testing.parts import builder, faults_told, identify, needed

IMAGE = TowerSpec(pooled=20, tokens=24)  # all widths differ, so that a mix-up cannot hide
TEXT_TOWER = TowerSpec(pooled=12, tokens=28)


def check_fusion(
    part: str | type[Fusion] | Fusion,
    *,
    manifest: FusionManifest | None = None,
    image: TowerSpec = IMAGE,
    text: TowerSpec = TEXT_TOWER,
    **args: Any,
) -> None:
    """Build a fusion for towers of several widths and run it through its contract.

    Args:
        part: its registered name, its class, or a fusion that was built.
        manifest: of a class or object that is not installed.
        image, text: widths of the towers, which a fusion that was built must fit.
        args: some of its arguments; the others take their defaults.

    Raises:
        AssertionError: the manifest lies, a shape is wrong, padding matters, a row depends on its
            batch, a side is ignored, a parameter gets no gradient, saved tensors do not restore the
            fusion, or the attention that it offers is none.
    """
    if "question" in args:
        raise renamed("check_fusion takes text=, not question=, for the widths of the text tower")
    owner, known, component = identify(FusionManifest, part, manifest)
    manifest = needed(owner, known)
    given = f"Its manifest requires {', '.join(sorted(manifest.requires))}, and it gets no more."
    with faults_told(owner, given):
        try:
            _check(owner, manifest, component, image, text, args)
        except IncompatibleError as error:
            raise AssertionError(f"{owner}: {error} {given}") from error


def _check(
    owner: str,
    manifest: FusionManifest,
    component: Any,
    image: TowerSpec,
    text: TowerSpec,
    args: dict[str, Any],
) -> None:
    if isinstance(component, type):
        check_signature(owner, manifest, component, ["image", "text"])
    sides = {}
    for side, tower in (("image", image), ("text", text)):
        kinds = {kind for kind in (POOLED, TOKENS) if f"{side}.{kind}" in manifest.requires}
        require(bool(kinds), owner, f"it requires nothing of the {side}")
        sides[side] = only(tower, kinds)

    build = builder(owner, manifest, component, args, *sides.values())
    fusion = build(0).eval()
    require(
        isinstance(getattr(fusion, "out", None), FusedSpec),
        owner,
        "its constructor must set self.out, a FusedSpec(kind, dim)",
    )
    require(
        fusion.out.kind == manifest.provides,
        owner,
        f"out.kind is '{fusion.out.kind}', but the manifest provides '{manifest.provides}'",
    )
    looked = random_features(sides["image"], 4, 5, seed=1)
    asked = random_features(sides["text"], 4, 6, seed=2)
    with torch.no_grad():
        fused = fusion(looked, asked)
        check_fused(owner, fusion.out, fused, rows=4)
        for row in range(4):
            single = slice(row, row + 1)
            require_same(
                owner, fused.index(single), fusion(looked.index(single), asked.index(single))
            )
        longer = fusion(with_padding(looked), with_padding(asked))
        for row in range(4):
            single = slice(row, row + 1)
            require_same(f"{owner}, with more padding", fused.index(single), longer.index(single))
        for side, other in (
            ("image", fusion(random_features(sides["image"], 4, 5, seed=3), asked)),
            ("text", fusion(looked, random_features(sides["text"], 4, 6, seed=4))),
        ):
            first, second = getattr(fused, fusion.out.kind), getattr(other, fusion.out.kind)
            ignored, said = torch.allclose(first, second), manifest.ignores == side
            require(ignored <= said, owner, f"it ignores the {side}")
            require(said <= ignored, owner, f"it uses the {side}, which its manifest denies")
        if isinstance(fusion, AttendsToImage):
            _check_attention(owner, fusion, looked, asked)
        restored = build(1)
        restored.load_state_dict(fusion.state_dict(), strict=True)
        again = restored.eval()(looked, asked)
        require_same(f"{owner}, restored from its state_dict", fused, again)
    with elsewhere(owner, fusion):
        require_elsewhere(owner, fusion(sent(looked), sent(asked)))
    fusion.train()
    inputs = [looked] * (manifest.ignores != "image") + [asked] * (manifest.ignores != "text")
    leaves = [t.requires_grad_() for x in inputs for k, t in x.tensors().items() if k != "mask"]
    output = getattr(fusion(looked, asked), fusion.out.kind)
    (output * torch.randn(output.shape, generator=generator())).sum().backward()
    check_gradients(owner, fusion)
    require(
        all(leaf.grad is not None for leaf in leaves),
        owner,
        "no gradient reaches the towers, so they could not be fine-tuned",
    )


def _check_attention(owner: str, fusion: AttendsToImage, image: Features, text: Features) -> None:
    """Weights over the image tokens that are there, which add up to 1 in each row."""
    require(
        image.tokens is not None and image.mask is not None,
        owner,
        "it has a method attention, but requires no image tokens to look at",
    )
    assert image.tokens is not None
    assert image.mask is not None
    weights = fusion.attention(image, text)
    wanted = tuple(image.tokens.shape[:2])
    require(
        tuple(weights.shape) == wanted,
        owner,
        f"attention gives {tuple(weights.shape)}, but {wanted} was expected",
    )
    rows = weights.masked_fill(~image.mask, 0).sum(dim=1)
    require(bool((weights >= 0).all()), owner, "its attention is negative somewhere")
    require_close(
        owner, torch.ones_like(rows), rows, "its attention to real tokens does not add up to 1"
    )
