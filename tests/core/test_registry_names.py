"""References to parts, and parts registered by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqazoo.errors import PluginError
from vqazoo.interfaces import Fusion
from vqazoo.manifests import Arg, FusionManifest, HeadManifest
from vqazoo.registry import BASES, KINDS, MANIFESTS, Registry, load_object, parse_ref

# ---- names ----------------------------------------------------------------------------------


def test_case_and_underscores_are_forgiven_in_names() -> None:
    registry = Registry()
    for spelt in ("easy-vqa", "Easy-VQA", "easy_vqa", "EASY_VQA", "vqazoo/Easy_VQA"):
        assert registry.component("dataset", spelt).__name__ == "EasyVQA"


NAMES = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True)


@given(
    distribution=st.none() | NAMES,
    name=NAMES,
    variant=st.none() | st.text(min_size=1),
    spell=st.sampled_from([str, str.upper, lambda name: name.replace("-", "_")]),
)
def test_references_are_split_and_variants_kept_as_they_are(
    distribution: str | None, name: str, variant: str | None, spell: Callable[[str], str]
) -> None:
    text = f"{distribution}/{spell(name)}" if distribution else spell(name)
    text += "" if variant is None else f":{variant}"
    assert parse_ref(text) == (distribution, name, variant)


def test_variants_may_hold_colons_and_slashes() -> None:
    assert parse_ref("HF_clip:openai/CLIP:x@y") == (None, "hf-clip", "openai/CLIP:x@y")
    assert parse_ref("my-dist/timm:") == ("my-dist", "timm", None)


def test_every_kind_has_a_manifest_class_and_a_base_class() -> None:
    assert set(MANIFESTS) == set(BASES) == set(KINDS)
    for kind in KINDS:
        assert isinstance(load_object(BASES[kind]), type)


# ---- registering by hand --------------------------------------------------------------------

MADE = FusionManifest(
    summary="by hand", requires=frozenset(), provides="pooled", args={"dim": Arg(int, 4, "width")}
)


def test_a_class_can_be_registered_and_forgotten() -> None:
    registry = Registry()

    @registry.register("fusion", "by-hand", MADE)
    class ByHand(Fusion):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim

        def forward(self, image, question):  # type: ignore[no-untyped-def]
            return image

    assert registry.build("fusion", "By_Hand", dim=3).dim == 3
    assert registry.manifest("fusion", "by-hand").build.startswith(__name__)
    with pytest.raises(PluginError, match="already provided by registered-here"):
        registry.register("fusion", "by-hand", MADE)
    registry.unregister("fusion", "by-hand")
    assert "by-hand" not in registry.names("fusion")
    assert "by-hand" not in Registry().names("fusion")


def test_what_is_registered_is_checked() -> None:
    registry = Registry()
    head = HeadManifest(
        summary="", requires="pooled", answer_mode="classify", default_fusion="concat"
    )
    for name, manifest, said in (
        ("fine", head, "should be a FusionManifest"),
        ("Not_Fine", MADE, "name that is not allowed"),
        ("two--dashes", MADE, "name that is not allowed"),
        ("hub", MADE, "neither 'hub' nor 'dir'"),
    ):
        with pytest.raises(PluginError, match=said):
            registry.register("fusion", name, manifest)(Fusion)
        assert name not in registry.names("fusion")
    registry.register("fusion", "not-a-fusion", MADE)(dict)
    with pytest.raises(PluginError, match=r"should be a vqazoo\.interfaces\.Fusion"):
        registry.component("fusion", "not-a-fusion")
