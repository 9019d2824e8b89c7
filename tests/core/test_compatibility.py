"""Which parts fit together, told from manifests: made-up ones, then the real ones."""

from __future__ import annotations

import importlib

import pytest

from vqazoo.compatibility import check_compatible, compatible
from vqazoo.errors import ConfigError, IncompatibleError, UnknownNameError
from vqazoo.interfaces import Encoder, Fusion, Head
from vqazoo.manifests import EncoderManifest, FusionManifest, HeadManifest, Manifest
from vqazoo.registry import Registry, registry

BOTH = frozenset({"pooled", "tokens"})
POOLED = frozenset({"pooled"})
TOKENS = frozenset({"tokens"})
ENCODERS = {
    "both": (BOTH, BOTH),
    "pooled-both": (POOLED, POOLED),
    "picture-only": (POOLED, frozenset()),
    "text-only": (frozenset(), BOTH),
    "grid-only": (BOTH, frozenset()),
}
FUSIONS = {
    "join": ({"image.pooled", "text.pooled"}, "pooled"),
    "attend": ({"image.tokens", "text.tokens"}, "tokens"),
    "grid-pool": ({"image.tokens", "text.pooled"}, "pooled"),
    "blind": ({"text.pooled"}, "pooled"),
}
HEADS = {"classify": "pooled", "read": "tokens"}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry of made-up parts alone."""
    monkeypatch.setenv("VQAZOO_PLUGINS", "")
    made = Registry()

    def add(kind: str, name: str, manifest: Manifest, component: type) -> None:
        made.register(kind, name, manifest)(component)

    for name, (image, text) in ENCODERS.items():
        variant = "a size" if name == "grid-only" else ""
        manifest = EncoderManifest(
            summary="",
            image=image,
            text=text,
            variant=variant,
            example=f"{name}:small" if variant else "",
        )
        add("encoder", name, manifest, Encoder)
    for name, (requires, provides) in FUSIONS.items():
        fusion = FusionManifest(summary="", requires=frozenset(requires), provides=provides)
        add("fusion", name, fusion, Fusion)
    for name, takes in HEADS.items():
        head = HeadManifest(
            summary="", requires=takes, answer_mode="classify", default_fusion="join"
        )
        add("head", name, head, Head)
    monkeypatch.setattr("vqazoo.compatibility.registry", made)
    return made


def refusal(*refs: str) -> str:
    with pytest.raises(IncompatibleError) as caught:
        check_compatible(*refs)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_parts_that_fit_pass(parts: Registry) -> None:
    for refs in (
        ("both", "both", "join", "classify"),
        ("both", "both", "attend", "read"),
        ("grid-only:large", "text-only:any", "attend", "read"),
        ("picture-only", "text-only", "join", "classify"),
        ("Picture_Only", "both", "JOIN", "Classify"),
    ):
        check_compatible(*refs)


def test_a_missing_tower_names_the_option_and_what_would_fill_it(parts: Registry) -> None:
    assert refusal("both", "picture-only", "join", "classify") == (
        "The encoder 'picture-only' has no text tower, but the fusion 'join' joins image "
        "and question: name another encoder for this tower with --text-encoder, such as both, "
        "pooled-both, text-only."
    )
    assert refusal("text-only:x", "text-only:x", "attend", "read") == (
        "The encoder 'text-only:x' has no image tower, but the fusion 'attend' joins "
        "image and question: name another encoder for this tower with --image-encoder, such as "
        "both, grid-only:small."
    )
    assert "such as both, grid-only:small, picture-only, pooled-both." in refusal(
        "text-only", "both", "blind", "classify"
    )


def test_a_kind_that_a_tower_lacks_names_fusions_and_encoders_that_fit(parts: Registry) -> None:
    assert refusal("pooled-both", "pooled-both", "grid-pool", "classify") == (
        "The fusion 'grid-pool' requires image.tokens, but the image tower of the encoder "
        "'pooled-both' offers only pooled: choose another fusion (blind, join) or another "
        "--image-encoder (both, grid-only:small)."
    )
    message = refusal("both", "pooled-both", "attend", "read")
    assert "requires text.tokens, but the text tower of the encoder 'pooled-both'" in message
    assert "choose another fusion (none is installed)" in message  # only `attend` feeds `read`
    assert "another --text-encoder (both, text-only)" in message


def test_a_head_that_does_not_fit_the_fusion_names_both_ways_out(parts: Registry) -> None:
    assert refusal("both", "both", "attend", "classify") == (
        "The head 'classify' requires pooled features, but the fusion 'attend' provides tokens: "
        "choose another fusion (blind, grid-pool, join) or another head (read)."
    )


def test_unknown_parts_are_refused_with_a_suggestion(parts: Registry) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'attend'"):
        check_compatible("both", "both", "atend", "read")


@pytest.mark.parametrize(
    ("kind", "chosen", "expected"),
    [
        ("fusion", {"head": "classify"}, ["blind", "grid-pool", "join"]),
        ("fusion", {"head": "read"}, ["attend"]),
        ("fusion", {"encoder": "pooled-both"}, ["blind", "join"]),
        ("fusion", {"encoder": "picture-only"}, ["blind", "join"]),  # its text tower is open
        ("fusion", {"encoder": "text-only"}, ["attend", "blind", "grid-pool", "join"]),
        (
            "fusion",
            {"encoder": "pooled-both", "image_encoder": "both"},
            ["blind", "grid-pool", "join"],
        ),
        ("fusion", {"encoder": "pooled-both", "head": "read"}, []),
        ("head", {"fusion": "attend"}, ["read"]),
        ("head", {"encoder": "pooled-both"}, ["classify"]),
        ("head", {"encoder": "both"}, ["classify", "read"]),
        ("head", {}, ["classify", "read"]),
        ("encoder", {"head": "read"}, ["both", "grid-only", "text-only"]),
        ("encoder", {"fusion": "grid-pool"}, ["both", "grid-only", "text-only"]),
        ("encoder", {}, ["both", "grid-only", "picture-only", "pooled-both", "text-only"]),
    ],
)
def test_compatible_parts_are_listed(
    parts: Registry, kind: str, chosen: dict[str, str], expected: list[str]
) -> None:
    assert compatible(kind, **chosen) == expected


def test_the_listing_agrees_with_the_check(parts: Registry) -> None:
    for image in ENCODERS:
        for text in ENCODERS:
            if not ENCODERS[image][0] or not ENCODERS[text][1]:
                continue
            for head in HEADS:
                listed = compatible("fusion", image_encoder=image, text_encoder=text, head=head)
                for fusion in FUSIONS:
                    try:
                        check_compatible(image, text, fusion, head)
                    except IncompatibleError:
                        assert fusion not in listed
                    else:
                        assert fusion in listed


def test_what_cannot_be_asked_is_refused(parts: Registry) -> None:
    with pytest.raises(ConfigError, match=r"'haed' is not known. Did you mean 'head'\?"):
        compatible("fusion", haed="read")
    with pytest.raises(ConfigError, match="not datasets"):
        compatible("dataset", head="read")
    with pytest.raises(UnknownNameError, match="Did you mean 'read'"):
        compatible("fusion", head="raed")
    with pytest.raises(IncompatibleError, match="'text-only' has no image tower"):
        compatible("fusion", image_encoder="text-only")


def test_a_broken_plugin_is_left_out(parts: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    parts._scan()["fusion"]["broken"] = [
        type(parts.provider("fusion", "join"))("broken-dist", "1", None, object())  # type: ignore[arg-type]
    ]
    assert "broken" in parts.names("fusion")
    assert compatible("fusion", head="classify") == ["blind", "grid-pool", "join"]
    assert "choose another fusion (blind, grid-pool, join)" in refusal(
        "both", "both", "attend", "classify"
    )


# ---- the real ones --------------------------------------------------------------------------


@pytest.mark.parametrize("head", registry.names("head"))
def test_every_heads_default_fusion_fits_the_packaged_encoder(head: str) -> None:
    manifest = registry.manifest("head", head)
    assert isinstance(manifest, HeadManifest)
    lenders = {"language_model": "hf-lm:folder", "text_embedding": "words:tiny-clip"}
    text = next((lenders[one] for one in manifest.borrows if one in lenders), "tiny-clip")
    check_compatible("tiny-clip", text, manifest.default_fusion, head)
    registry.fill("fusion", manifest.default_fusion, dict(manifest.default_fusion_args))


def test_a_head_whose_borrowed_module_the_text_encoder_does_not_lend_is_refused() -> None:
    with pytest.raises(
        IncompatibleError,
        match=r"borrows the language_model .* 'tiny-clip' lends token_embedding: name another "
        r"--text-encoder \(hf-lm:.*minilm-lm\) or another head",
    ):
        check_compatible("tiny-clip", "tiny-clip", "prefix-mlp", "lm-classifier")
    assert "lm-classifier" not in compatible("head", text_encoder="tiny-clip")
    assert "lm-classifier" in compatible("head", text_encoder="minilm-lm")
    assert "minilm-lm" in compatible("encoder", head="lm-classifier")
    assert "hf-text" not in compatible("encoder", head="lm-classifier")


def test_the_module_imports_no_torch_itself() -> None:
    module = importlib.import_module("vqazoo.compatibility")
    assert not {"torch", "numpy"} & set(vars(module))
