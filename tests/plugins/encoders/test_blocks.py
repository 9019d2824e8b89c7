"""Blocks that train one by one: whose parameters they are is told by gradients, not by names."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn

from tests.plugins.encoders import tiny
from tests.plugins.language_models import tiny as language_models
from tests.whole.families.published import PUBLISHED
from vqazoo.blocks import read_side
from vqazoo.building import build_towers
from vqazoo.config import Block, ModelConfig, fill_block
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Encoder, Features
from vqazoo.registry import registry
from vqazoo.testing import ToyEncoder, check_encoder
from vqazoo.training.stages import last_blocks
from vqazoo.zoo.models import load

BOTH = frozenset({"image", "text"})


def encoder(name: str, towers: frozenset[str] = BOTH) -> Encoder:
    block = fill_block("encoder", Block(name))
    other = fill_block("encoder", Block("tiny-clip"))
    unused = Block("")
    if towers == BOTH:
        return build_towers(ModelConfig(block, block, unused, unused))["both"]
    both = (block, other) if towers == {"image"} else (other, block)
    return build_towers(ModelConfig(*both, unused, unused))[
        "image" if "image" in towers else "text"
    ]


class EyeAndText(ToyEncoder):
    """Somebody's encoder with the towers `eye` and `text`; one final norm is registered first."""

    def __init__(self) -> None:
        super().__init__(None, BOTH, width=16, vocabulary=258)
        self.text_norm = nn.LayerNorm(16)
        self.eye = nn.ModuleList(nn.Linear(12, 12) for _ in range(3))
        self.text = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.eye_norm = nn.LayerNorm(10)

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        found = super().encode_image(pixels, BOTH_KINDS)
        tokens = found.tokens
        for block in self.eye:
            tokens = block(tokens)
        pooled = self.eye_norm(self.pool_image(tokens.mean(dim=1)))
        return chosen(pooled, tokens, found.mask, wants, 1)

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        tokens = super().encode_text(ids, mask, BOTH_KINDS).tokens
        for block in self.text:
            tokens = block(tokens)
        tokens = self.text_norm(tokens)
        mean = (tokens * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return chosen(self.pool_question(mean), tokens, mask, wants, 0)


BOTH_KINDS = frozenset({"pooled", "tokens"})


def chosen(
    pooled: Tensor, tokens: Tensor, mask: Tensor | None, wants: frozenset[str], prefix: int
) -> Features:
    if "tokens" not in wants:
        return Features(pooled)
    return Features(pooled if "pooled" in wants else None, tokens, mask, prefix)


def test_towers_of_any_name_are_told_apart() -> None:
    made = EyeAndText().eval()
    assert set(last_blocks(made, "text", 1)) == {"text.1.", "pool_question.", "text_norm."}
    assert set(last_blocks(made, "image", 2)) == {"eye.1.", "eye.2.", "eye_norm.", "pool_image."}
    check_encoder(made)


def test_blocks_that_both_towers_read_are_refused() -> None:
    class Shared(EyeAndText):
        def __init__(self) -> None:
            super().__init__()
            self.eye = self.text = nn.ModuleList(nn.Linear(12, 12) for _ in range(2))
            self.narrow, self.wide = nn.Linear(16, 12), nn.Linear(12, 16)

        def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
            tokens = self.narrow(ToyEncoder.encode_text(self, ids, mask, BOTH_KINDS).tokens)
            for block in self.text:
                tokens = block(tokens)
            tokens = self.wide(tokens)
            return chosen(self.pool_question(tokens[:, 0]), tokens, mask, wants, 0)

    for side in ("image", "text"):
        with pytest.raises(ConfigError, match="Both towers read 'eye'"):
            last_blocks(Shared(), side, 1)


def test_the_kit_finds_blocks_of_the_other_tower() -> None:
    class Wrong(EyeAndText):
        def blocks(self, side: str) -> list[list[str]]:
            return [["eye.0."], ["text.1."]]

    with pytest.raises(AssertionError, match=r"block 1 holds 'text\.1.*text tower reads too"):
        check_encoder(Wrong().eval())


def test_the_kit_finds_blocks_without_parameters_and_blocks_that_overlap() -> None:
    class Empty(EyeAndText):
        def blocks(self, side: str) -> list[list[str]]:
            return [["eye.7."]]

    class Twice(EyeAndText):
        def blocks(self, side: str) -> list[list[str]]:
            return [["eye."], ["eye.1."]]

    with pytest.raises(AssertionError, match="has no parameter"):
        check_encoder(Empty().eval())
    with pytest.raises(AssertionError, match="is in two blocks"):
        check_encoder(Twice().eval())


def test_finding_blocks_changes_nothing() -> None:
    made = EyeAndText()
    made.text.requires_grad_(False)
    made.eye.eval()
    before = {n: p.requires_grad for n, p in made.named_parameters()}
    modes = [module.training for module in made.modules()]
    made.blocks("image")
    assert {n: p.requires_grad for n, p in made.named_parameters()} == before
    assert [module.training for module in made.modules()] == modes
    assert all(parameter.grad is None for parameter in made.parameters())
    assert not any(module._forward_pre_hooks for module in made.modules())


def sound(made: Encoder) -> None:
    """Each block has parameters of its own tower only; embeddings and the other tower stay."""
    reading = {side: read_side(made, side).parameters for side in ("image", "text")}
    for side, other in (("image", "text"), ("text", "image")):
        if (made.spec.image if side == "image" else made.spec.text) is None:
            continue
        for block in made.blocks(side):
            inside = {n for n, _ in made.named_parameters() if n.startswith(tuple(block))}
            assert inside
            assert inside <= reading[side]
            assert not inside & reading[other]
            assert not any("embeddings.word" in name or "embed_tokens" in name for name in inside)


@pytest.fixture(scope="module")
def open_clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    pytest.importorskip("open_clip")
    return tiny.register_open_clip(tmp_path_factory.mktemp("open-clips"))


@pytest.mark.parametrize("towers", [BOTH, frozenset({"image"}), frozenset({"text"})])
def test_every_layout_of_open_clip_has_blocks(
    open_clips: list[str], towers: frozenset[str]
) -> None:
    for name in open_clips:
        sound(encoder(f"open-clip:{name}", towers))


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_towers_of_transformers_have_blocks(tmp_path: Path, family: str) -> None:
    made = encoder(f"hf-clip:{tiny.hf_clip(tmp_path, family)}")
    sound(made)
    assert last_blocks(made, "text", 1)[0] == "model.text_model.encoder.layers.1."
    assert last_blocks(made, "image", 1)[0] == "model.vision_model.encoder.layers.1."


@pytest.mark.parametrize(
    "family", [*language_models.ENCODERS, *language_models.DECODERS, *language_models.BOTH]
)
def test_the_last_blocks_of_a_language_model_are_its_last_layers(
    tmp_path: Path, family: str
) -> None:
    made = encoder(f"hf-lm:{language_models.save(tmp_path, family)}", frozenset({"text"}))
    sound(made)
    count = len(made.blocks("text"))
    assert count == (4 if family in language_models.BOTH else 2)
    names = [n.removeprefix("language_model.model.") for n in last_blocks(made, "text", 1)]
    expected = {
        "gpt2": ["transformer.h.1.", "transformer.ln_f."],
        "opt": ["model.decoder.layers.1.", "model.decoder.final_layer_norm."],
        "llama": ["model.layers.1.", "model.norm.", "lm_head."],
        "bloom": ["transformer.h.1.", "transformer.ln_f."],
        "t5": ["decoder.block.1.", "decoder.final_layer_norm."],
        "bart": ["model.decoder.layers.1."],
        "bert": ["encoder.layer.1."],
        "roberta": ["encoder.layer.1."],
        "distilbert": ["transformer.layer.1."],
    }[family]
    assert names == expected


@pytest.mark.parametrize("family", PUBLISHED)
def test_encoders_of_published_families_say_their_blocks_or_that_there_are_none(
    tmp_path: Path, family: str
) -> None:
    model = load(f"dir:{PUBLISHED[family](tmp_path)}")
    for made in model.towers.values():
        for side in ("image", "text"):
            try:
                blocks = made.blocks(side)
            except ConfigError:
                continue
            learning = {name for name, _ in made.named_parameters()}
            for block in blocks:
                assert {n for n in learning if n.startswith(tuple(block))} <= (
                    read_side(made, side).parameters
                )


@pytest.mark.parametrize(("name", "last"), [("twins_pcpvt_small", 3), ("crossvit_9_240", 2)])
def test_the_last_block_is_neither_a_position_layer_nor_a_norm_of_a_branch(
    name: str, last: int
) -> None:
    encoder = registry.build("encoder", f"timm:{name}", name, frozenset({"image"}))
    assert encoder.blocks("image")[-1] == [f"model.blocks.{last}.", "model.norm."]


class Staged(EyeAndText):
    """Its text tower has two stages and a bridge between them; both stages are followed by it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.bridge = nn.Linear(16, 16)
        self.later = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.seam = nn.Linear(16, 16)
        self.closing = nn.LayerNorm(16)

    def stages(self, tokens: Tensor) -> Tensor:
        for block in self.text:
            tokens = block(tokens)
        tokens = self.later[0](self.bridge(tokens))
        return self.closing(self.later[1](self.seam(tokens)))

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        tokens = self.stages(ToyEncoder.encode_text(self, ids, mask, BOTH_KINDS).tokens)
        return chosen(self.pool_question(tokens[:, 0]), tokens, mask, wants, 0)


def test_what_is_called_between_two_blocks_does_not_follow_the_last() -> None:
    made = Staged().eval()
    last = {"later.1.", "closing.", "pool_question."}
    assert set(last_blocks(made, "text", 1)) == last
    assert set(last_blocks(made, "text", 3)) == last | {"later.0.", "text.1."}


def test_of_stages_that_heads_run_the_last_is_followed_by_what_is_registered_after_it() -> None:
    """No reading calls them, so the order of the modules is all there is."""

    class Lent(Staged):
        def __init__(self) -> None:
            super().__init__()
            self.language = nn.ModuleDict(
                {
                    "text": nn.ModuleList(nn.Linear(16, 16) for _ in range(2)),
                    "bridge": nn.Linear(16, 16),
                    "later": nn.ModuleList(nn.Linear(16, 16) for _ in range(2)),
                    "closing": nn.LayerNorm(16),
                }
            )
            del self.text, self.later, self.bridge, self.seam, self.closing

        def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
            return ToyEncoder.encode_text(self, ids, mask, wants)

        def lend(self, name: str) -> nn.Module:
            return self.language if name == "language_model" else super().lend(name)

    assert set(last_blocks(Lent().eval(), "text", 1)) == {"language.later.1.", "language.closing."}
