"""What an author of a part first gets wrong is told in a sentence, not by a traceback of torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vqazoo
from vqazoo.errors import PluginError, UnknownNameError, VqazooError, WeightsError
from vqazoo.interfaces import Answer, Features, FusedSpec, Fusion, Head, WeightsReference, width
from vqazoo.manifests import Arg, EncoderManifest, FusionManifest, HeadManifest
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder, check_encoder, check_fusion, check_head, toy_encoder
from vqazoo.toolkit import ClassHead, read_named_weights

HEAD = HeadManifest(
    summary="a head",
    build="acme.heads:Head",
    requires="pooled",
    answer_mode="classify",
    default_fusion="hadamard",
)
FUSION = FusionManifest(
    summary="a fusion", requires=frozenset({"image.pooled", "text.pooled"}), provides="pooled"
)


class Line(ClassHead):
    """A head as it should be, but for what a test changes."""

    extra = 0

    def __init__(self, fused: Any, answers: Any, text_encoder: Any) -> None:
        super().__init__(answers)
        self.line = nn.Linear(fused.dim, len(answers) + self.extra)

    def logits(self, fused: Features) -> Tensor:
        scores: Tensor = self.line(fused.pooled)
        return scores


class Product(Fusion):
    """A fusion as it should be, but for what a test changes."""

    def __init__(self, image: Any, text: Any) -> None:
        super().__init__()
        self.a = nn.Linear(width(image, "pooled"), 8)
        self.b = nn.Linear(width(text, "pooled"), 8)
        self.out = FusedSpec("pooled", 8)

    def forward(self, image: Features, text: Features) -> Features:
        return Features(pooled=self.a(image.pooled) * self.b(text.pooled))


@pytest.fixture
def offer() -> Iterator[Any]:
    """Registers a part under a name for one test."""
    given = []

    def register(kind: str, name: str, manifest: Any, component: Any) -> None:
        registry.register(kind, name, manifest)(component)
        given.append((kind, name))

    yield register
    for kind, name in given:
        registry.unregister(kind, name)


def test_the_parts_of_this_page_pass_before_they_are_spoilt() -> None:
    check_head(Line, manifest=HEAD)
    check_fusion(Product, manifest=FUSION)


@pytest.mark.parametrize("extra", [-1, 1])
def test_scores_that_are_not_one_for_each_answer_are_never_ranked(extra: int) -> None:
    wrong = type("Wrong", (Line,), {"extra": extra})
    with pytest.raises(PluginError, match=r"a column for each of K = 5 answers"):
        check_head(wrong, manifest=HEAD)
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b", "c"])
    spoilt = wrong(model.fusion.out, model.answers, model.text_encoder)
    with torch.no_grad(), pytest.raises(PluginError, match="K = 3"):
        spoilt.predict(Features(pooled=torch.zeros(2, model.fusion.out.dim)))


def test_a_head_that_reads_what_its_manifest_does_not_require_is_told_so() -> None:
    from dataclasses import replace

    lies = replace(HEAD, requires="tokens", default_fusion="git")
    with pytest.raises(AssertionError, match=r"requires tokens: it gets fused\.tokens") as caught:
        check_head(Line, manifest=lies)
    assert Path(__file__).name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "method", "told"),
    [
        ("predict", lambda s, f, top_k=1: [Answer("yes", 1.0)] * len(f), "a list of Answers for"),
        ("predict", lambda s, f, top_k=1: [["yes"]] * len(f), "must give Answers, not 'yes'"),
        ("predict", lambda s, f, top_k=1: [[Answer("yes", torch.ones(()))]] * len(f), "a float"),  # type: ignore[arg-type]
        ("loss", lambda s, f, targets: s.logits(f).sum(), r"such as \(loss, \{\}\)"),
    ],
)
def test_what_a_head_returns_is_told_in_words(name: str, method: Any, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_head(type("Spoilt", (Line,), {name: method}), manifest=HEAD)


@pytest.mark.parametrize(
    ("out", "told"),
    [(8, r"self\.out, a\s+FusedSpec"), (FusedSpec("tokens", 8), "manifest provides")],
)
def test_a_fusion_that_does_not_say_what_it_gives_is_refused(
    out: Any, told: str, offer: Any
) -> None:
    class Wrong(Product):
        def __init__(self, image: Any, text: Any) -> None:
            super().__init__(image, text)
            self.out = out

    with pytest.raises(AssertionError, match=told):
        check_fusion(Wrong, manifest=FUSION)
    offer("fusion", "wrong-out", FUSION, Wrong)
    with pytest.raises(PluginError, match=told):
        vqazoo.create(encoder="tiny-clip", fusion="wrong-out", head="mlp", answers=["a"])


def test_a_fusion_that_returns_a_tensor_or_takes_a_third_argument_is_told_so() -> None:
    class Bare(Product):
        def forward(self, image: Any, text: Any) -> Any:
            return super().forward(image, text).pooled

    class Three(Product):
        def forward(self, image: Any, text: Any, mask: Any) -> Any:  # type: ignore[override]
            return super().forward(image, text)

    with pytest.raises(AssertionError, match="but returns a Tensor"):
        check_fusion(Bare, manifest=FUSION)
    with pytest.raises(AssertionError, match=r"Three: it fails with TypeError: .* 'mask'"):
        check_fusion(Three, manifest=FUSION)


def test_a_fusion_of_features_that_its_manifest_leaves_out_is_told_so() -> None:
    class Tokens(Product):
        def __init__(self, image: Any, text: Any) -> None:
            super().__init__(image, text)
            self.a = nn.Linear(width(image, "tokens"), 8)

    with pytest.raises(AssertionError, match=r"requires image\.pooled, text\.pooled, and it gets"):
        check_fusion(Tokens, manifest=FUSION)


def test_an_encoder_without_a_spec_or_with_a_reference_of_text_is_told_so(offer: Any) -> None:
    class NoSpec(ToyEncoder):
        def __init__(self, variant: Any, towers: Any, *, width: int, vocabulary: int) -> None:
            super().__init__(variant, towers, width=width, vocabulary=vocabulary)
            del self.spec

    with pytest.raises(AssertionError, match=r"must set self\.spec"):
        check_encoder(NoSpec, manifest=TOY)
    offer("encoder", "no-spec", TOY, NoSpec)
    with pytest.raises(PluginError, match=r"must set self\.spec"):
        vqazoo.create(encoder="no-spec", head="mlp", answers=["a"])
    named = toy_encoder()
    named.reference = "w.safetensors"  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="a WeightsReference or None was expected"):
        check_encoder(named)


def test_an_encoder_that_returns_a_tensor_is_told_so() -> None:
    class Bare(ToyEncoder):
        def encode_image(self, pixels: Any, wants: Any) -> Any:
            return super().encode_image(pixels, wants).pooled

    with pytest.raises(AssertionError, match="encode_image must return Features"):
        check_encoder(Bare, manifest=TOY)


def test_weights_that_are_not_there_are_a_sentence_whoever_opens_them(offer: Any) -> None:
    class Careless(ToyEncoder):
        def load_pretrained(self) -> None:
            Path("no-such.safetensors").read_bytes()

    offer("encoder", "careless", TOY, Careless)
    with pytest.raises(WeightsError, match=r"'careless' cannot load its weights .*no-such"):
        vqazoo.create(encoder="careless", head="mlp", answers=["a"])


def test_a_file_of_weights_is_read_with_its_reference(tmp_path: Path) -> None:
    import hashlib

    from safetensors.torch import save_file

    file, pickle = tmp_path / "w.safetensors", tmp_path / "w.pt"
    save_file({"a": torch.arange(3.0)}, file)
    tensors, reference = read_named_weights(str(file))
    assert tensors["a"].tolist() == [0.0, 1.0, 2.0]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert reference == WeightsReference("file", str(file), sha256=digest)
    torch.save({"a": torch.ones(2)}, pickle)
    for wrong in (pickle, tmp_path / "nothing.safetensors"):
        with pytest.raises(WeightsError, match="cannot be read as safetensors"):
            read_named_weights(wrong)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answer_mode": "classification"}, "'classify' or 'generate' was expected"),
        ({"requires": frozenset({"pooled"})}, "'pooled' or 'tokens' was expected"),
        ({"requires": "image.tokens"}, "Did you mean 'tokens'"),
        ({"args": {"dim": 128}}, r"a table of Arg\(type, default, help\)"),
        ({"decode": {"beam": 5}}, r"a table of Arg\(type, default, help\)"),
        ({"build": "acme.heads.Head"}, "'module:attribute' was expected"),
    ],
)
def test_a_manifest_with_a_value_that_its_field_cannot_hold_is_refused(
    change: dict[str, Any], told: str
) -> None:
    from dataclasses import replace

    with pytest.raises(PluginError, match=told):
        replace(HEAD, **change)


@pytest.mark.parametrize("requires", ["image.pooled", {"tokens"}, {"image"}, 3])
def test_a_fusion_requires_kinds_of_sides(requires: Any) -> None:
    with pytest.raises(PluginError, match=r"a set out of 'image\.pooled'"):
        FusionManifest(summary="a fusion", requires=requires, provides="pooled")


def test_kinds_may_be_listed_and_a_tower_that_is_not_there_lends_nothing() -> None:
    listed: Any = ["image.pooled", "question.pooled"]
    fusion = FusionManifest(summary="a fusion", requires=listed, provides="pooled")
    assert fusion.requires == frozenset({"image.pooled", "text.pooled"})
    kinds: Any = ["pooled"]
    assert EncoderManifest(summary="one", image=kinds).image == frozenset({"pooled"})
    assert EncoderManifest(summary="one", image=kinds).lends == frozenset()
    assert EncoderManifest(summary="one", text=kinds).lends == frozenset({"token_embedding"})
    for wrong in ("pooled", True, frozenset({"pool"})):
        with pytest.raises(PluginError, match="a set out of 'pooled', 'tokens' was expected"):
            EncoderManifest(summary="one", image=wrong)  # type: ignore[arg-type]


def test_a_default_that_its_own_argument_refuses_is_found() -> None:
    from dataclasses import replace

    class Wide(Line):
        def __init__(self, fused: Any, answers: Any, text_encoder: Any, *, dim: int) -> None:
            super().__init__(fused, answers, text_encoder)

    with pytest.raises(VqazooError, match="argument 'dim' is 'x', but int was expected"):
        check_head(Wide, manifest=replace(HEAD, args={"dim": Arg(int, "x", "width")}))


def test_a_class_that_the_core_cannot_call_is_told_with_what_it_is_given(offer: Any) -> None:
    class Wants(Line):
        def __init__(self, fused: Any, answers: Any, text_encoder: Any, *, dim: int) -> None:
            super().__init__(fused, answers, text_encoder)

    class Unfinished(Head):
        pass

    offer("head", "wants-more", HEAD, Wants)
    offer("head", "unfinished", HEAD, Unfinished)
    with pytest.raises(PluginError, match=r"'dim'.*take fused, answers, text_encoder by position"):
        vqazoo.create(encoder="tiny-clip", head="wants-more", answers=["a"])
    for make in (
        lambda: vqazoo.create(encoder="tiny-clip", head="unfinished", answers=["a"]),
        lambda: check_head("unfinished"),
    ):
        with pytest.raises(PluginError, match="its class lacks loss, predict, targets"):
            make()


def test_a_part_that_is_not_installed_is_told_how_parts_are_found() -> None:
    with pytest.raises(UnknownNameError, match="install your package again"):
        check_head("acme-nearest-head-of-mine")


def test_entry_points_that_are_misnamed_or_misplaced_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "acme_bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: acme-bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vqazoo.heads]\nMy_Bad = acme:HEAD\n[vqazoo.head]\nstrayed = acme:HEAD\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from vqazoo.registry import Registry

    fresh = Registry()
    with pytest.raises(UnknownNameError, match="'My_Bad' is not allowed: spell it 'my-bad'"):
        fresh.provider("head", "My_Bad")
    with pytest.raises(UnknownNameError, match=r"in 'vqazoo\.head', but heads stand in 'vqazoo\."):
        fresh.provider("head", "strayed")
