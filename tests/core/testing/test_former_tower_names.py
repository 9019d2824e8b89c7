"""Parts that were written when the text tower was called `question`: fusions go on working, and
encoders are told in one sentence what to rename, wherever they are met first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vqazoo
from tests.support.toy import toy  # noqa: F401
from vqazoo.errors import PluginError
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    FusedSpec,
    Fusion,
    ImageTowerSpec,
    Preprocess,
    TextTowerSpec,
    TowerSpec,
)
from vqazoo.manifests import POOLED, EncoderManifest, FusionManifest
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder, check_encoder, check_fusion, toy_encoder

PAGE = "'One name for the text tower' in docs/reference/contracts.md"
PREPROCESS = Preprocess((8, 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class FormerFusion(Fusion):
    """As docs/how-to/add-a-fusion.md had it."""

    def __init__(self, image: TowerSpec, question: TowerSpec, *, dim: int) -> None:
        super().__init__()
        self.modulate = nn.Linear(question.pooled or 0, 2 * dim)
        self.project = nn.Linear(image.pooled or 0, dim)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, question: Features) -> Features:
        scale, shift = self.modulate(question.pooled).chunk(2, dim=1)
        return Features(self.project(image.pooled) * scale + shift)


def former_manifest(**more: Any) -> FusionManifest:
    return FusionManifest(
        summary="former",
        requires=frozenset({"image.pooled", "question.pooled"}),
        provides=POOLED,
        **more,
    )


@pytest.fixture
def former_fusion() -> Iterator[str]:
    from vqazoo.manifests import Arg

    manifest = former_manifest(args={"dim": Arg(int, 6, "width")})
    registry.register("fusion", "former", manifest)(FormerFusion)
    yield "former"
    registry.unregister("fusion", "former")


def test_a_fusion_that_requires_question_features_passes_and_answers(
    former_fusion: str,
    toy: str,  # noqa: F811
) -> None:
    check_fusion(former_fusion)
    model = vqazoo.create(encoder=toy, fusion=former_fusion, head="mlp", answers=["a", "b"])
    assert model.wants_text == {POOLED}
    assert model(torch.zeros(1, 3, 8, 8), ["why?"]).pooled.shape == (1, 6)


def test_the_check_of_fusions_takes_text_for_the_width_that_it_took_as_question() -> None:
    fusion = FormerFusion(TowerSpec(7, None), TowerSpec(9, None), dim=5)
    widths: Any = {"image": TowerSpec(7, None), "question": TowerSpec(9, None)}
    with pytest.raises(PluginError, match="check_fusion takes text=") as caught:
        check_fusion(fusion, manifest=former_manifest(), **widths)
    assert PAGE in str(caught.value)
    widths["text"] = widths.pop("question")
    check_fusion(fusion, manifest=former_manifest(), **widths)


def test_its_manifest_says_text() -> None:
    assert former_manifest().requires == {"image.pooled", "text.pooled"}
    assert former_manifest(ignores="question").ignores == "text"
    assert former_manifest(ignores="image").ignores == "image"


def test_an_encoder_with_the_former_method_is_refused_when_its_class_is_made() -> None:
    with pytest.raises(PluginError) as caught:

        class Former(Encoder):
            def load_pretrained(self) -> None: ...

            def encode_question(self, ids: Tensor, mask: Tensor, wants: Any) -> Features:
                return Features(torch.zeros(len(ids), 3))

    assert str(caught.value) == (
        "The encoder Former has encode_question, which is encode_text now, as the tower is 'text' "
        f"and no longer 'question': rename it as {PAGE} says."
    )


def test_so_is_one_that_changes_the_former_method_of_an_encoder_of_ours() -> None:
    """Else its own method would never be called."""
    with pytest.raises(PluginError, match="Louder has encode_question"):

        class Louder(ToyEncoder):
            def encode_question(self, ids: Tensor, mask: Tensor, wants: Any) -> Features:
                return super().encode_question(ids, mask, wants)


def test_one_that_has_both_names_fits_both_releases() -> None:
    class Both(ToyEncoder):
        def encode_text(self, ids: Tensor, mask: Tensor, wants: Any) -> Features:
            return super().encode_text(ids, mask, wants)

        encode_question = encode_text

    class Child(Both):
        """Says nothing of its own."""

    check_encoder(Child, TOY)


def test_a_manifest_with_the_former_field_is_refused() -> None:
    former: Any = {"question": frozenset({POOLED})}
    with pytest.raises(PluginError) as caught:
        EncoderManifest(summary="former", **former)
    assert str(caught.value) == (
        "An EncoderManifest tells of the text tower in text, not in question: rename it as "
        f"{PAGE} says."
    )


@pytest.mark.parametrize(
    ("towers", "named"),
    [
        ((), {"image": TowerSpec(3, None), "preprocess": PREPROCESS}),
        ((), {"question": TowerSpec(3, 4), "context_length": 16}),
        ((TowerSpec(3, None),), {}),
        ((TowerSpec(3, None), None, PREPROCESS, None), {}),
    ],
)
def test_an_encoder_spec_as_before_is_refused(towers: Any, named: Any) -> None:
    with pytest.raises(PluginError) as caught:
        EncoderSpec(*towers, **named)
    assert str(caught.value) == (
        "An EncoderSpec takes image=ImageTowerSpec(..., preprocess=...) and "
        f"text=TextTowerSpec(..., context_length=...): rename it as {PAGE} says."
    )


def test_the_former_image_encoder_of_the_how_to_is_told_by_the_kit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FormerHistogram(Encoder):
        def __init__(self, variant: Any, towers: frozenset[str], *, bins: int) -> None:
            super().__init__()
            former: Any = {"image": TowerSpec(3 * bins, None), "preprocess": PREPROCESS}
            self.spec = EncoderSpec(**former)

        def load_pretrained(self) -> None: ...

    from vqazoo.manifests import Arg

    manifest = EncoderManifest(
        summary="former", args={"bins": Arg(int, 4, "a channel")}, image=frozenset({POOLED})
    )
    with pytest.raises(PluginError, match="ImageTowerSpec") as caught:
        check_encoder(FormerHistogram, manifest)
    assert PAGE in str(caught.value)


def test_the_former_calls_of_users_go_on_working() -> None:
    encoder = toy_encoder()
    ids, mask = encoder.tokenize(["why?", "what is it?"])
    wants = frozenset({POOLED})
    found = encoder.encode_question(ids, mask, wants).pooled
    assert torch.equal(found, encoder.encode_text(ids, mask, wants).pooled)
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b"])
    with torch.no_grad():
        asked, read = model.encode_question(["why?"]), model.encode_text(["why?"])
    assert torch.equal(asked.pooled, read.pooled)
    model.set_trainable(["*"])
    assert model.trains_tower("question")
    assert model.trains_tower("text")
    assert model.holds_tower("question")


def test_each_tower_has_what_is_its_own() -> None:
    """The pair passes on what one tower says, and says so where that tower is not there."""
    image = ImageTowerSpec(3, None, preprocess=PREPROCESS)
    text = TextTowerSpec(4, 5, context_length=16)
    both = EncoderSpec(image, text)
    assert (both.preprocess, both.context_length) == (PREPROCESS, 16)
    with pytest.raises(vqazoo.errors.IncompatibleError, match="no image tower"):
        EncoderSpec(text=text).preprocess  # noqa: B018
    with pytest.raises(vqazoo.errors.IncompatibleError, match="no text tower"):
        EncoderSpec(image).context_length  # noqa: B018
    other = Preprocess((16, 16), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert both.prepared(other) == EncoderSpec(ImageTowerSpec(3, None, preprocess=other), text)
