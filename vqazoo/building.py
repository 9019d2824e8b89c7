"""Models out of parts: what fits is checked first, then parts are built, then weights loaded.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from torch import nn

from vqazoo.compatibility import check_compatible
from vqazoo.config import Block, ModelConfig, fill_block, parse
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, IncompatibleError
from vqazoo.interfaces import Encoder, Fusion, Head, TowerSpec
from vqazoo.manifests import FusionManifest
from vqazoo.model import VQAModel, kinds
from vqazoo.registry import registry
from vqazoo.toolkit.finite import check_pretrained

BlockLike = str | Mapping[str, Any] | Block


def create(
    *,
    head: BlockLike,
    answers: Iterable[str],
    encoder: BlockLike | None = None,
    image_encoder: BlockLike | None = None,
    text_encoder: BlockLike | None = None,
    fusion: BlockLike | None = None,
    pretrained: bool = True,
) -> VQAModel:
    """Build an untrained model from names of parts, ready to train or inspect.

    Args:
        head: name, or a table {"type": ..., "args": {...}}; the same holds for the other parts.
        answers: the answers the model shall know.
        encoder: both towers; `image_encoder` and `text_encoder` replace one.
        fusion: the head's default if None.
        pretrained: whether to load the encoder weights that the names ask for.

    Raises:
        UnknownNameError, ConfigError, IncompatibleError, WeightsError: see the message.
    """
    image, text = image_encoder or encoder, text_encoder or encoder
    if image is None or text is None:
        missing = "image_encoder" if image is None else "text_encoder"
        raise ConfigError(f"No {missing} is named: give encoder= for both towers, or {missing}=.")
    head_block = fill_block("head", _block(head, "head"))
    if fusion is None:
        manifest = registry.manifest("head", head_block.type)
        fusion = Block(manifest.default_fusion, dict(manifest.default_fusion_args))
    config = ModelConfig(
        fill_block("encoder", _block(image, "image_encoder")),
        fill_block("encoder", _block(text, "text_encoder")),
        fill_block("fusion", _block(fusion, "fusion")),
        head_block,
    )
    return build_model(config, AnswerList.from_texts(answers), pretrained)


def build_model(config: ModelConfig, answers: AnswerList, pretrained: bool = True) -> VQAModel:
    """Build a model from a filled config: first what manifests tell, then widths, then weights.

    Raises:
        IncompatibleError: parts do not fit; WeightsError: encoder weights cannot be loaded, or
            hold nan.
    """
    check_compatible(
        config.image_encoder.type, config.text_encoder.type, config.fusion.type, config.head.type
    )
    towers = build_towers(config)
    model = assemble(config, towers, answers)
    if pretrained:
        named = {"text": config.text_encoder.type}
        for key, encoder in towers.items():
            cast(Encoder, encoder).load_pretrained()
            check_pretrained(encoder, named.get(key, config.image_encoder.type))
    return model


def assemble(config: ModelConfig, towers: nn.ModuleDict, answers: AnswerList) -> VQAModel:
    """A model of these encoders, with a fusion and head of random weights, in eval mode.

    Raises:
        IncompatibleError: parts do not fit.
    """
    image = cast(Encoder, towers["both" if "both" in towers else "image"])
    text = cast(Encoder, towers["both" if "both" in towers else "text"])
    fusion_manifest = registry.manifest("fusion", config.fusion.type)
    image_spec = _check_tower(config.image_encoder, "image", image.spec.image, fusion_manifest)
    question_spec = _check_tower(
        config.text_encoder, "question", text.spec.question, fusion_manifest
    )
    fusion: Fusion = registry.build(
        "fusion", config.fusion.type, image_spec, question_spec, **config.fusion.args
    )
    head: Head = registry.build(
        "head", config.head.type, fusion.out, answers, text, **config.head.args
    )
    return VQAModel(config, towers, fusion, head, answers).eval()


def build_towers(config: ModelConfig, apart: bool = False) -> nn.ModuleDict:
    """The encoders with random weights: `both`, or `image` and `text`.

    Args:
        apart: build two also where their blocks are equal, as older releases did for two spellings
            of one name.
    """
    if config.image_encoder == config.text_encoder and not apart:
        return nn.ModuleDict({"both": _build_encoder(config.image_encoder, {"image", "question"})})
    return nn.ModuleDict(
        {
            "image": _build_encoder(config.image_encoder, {"image"}),
            "text": _build_encoder(config.text_encoder, {"question"}),
        }
    )


def _build_encoder(block: Block, towers: set[str]) -> Encoder:
    variant = block.type.partition(":")[2] or None
    encoder: Encoder = registry.build(
        "encoder", block.type, variant, frozenset(towers), **block.args
    )
    return encoder


def _block(given: BlockLike, where: str) -> Block:
    if isinstance(given, Block):
        return given
    return parse(Block, {"type": given} if isinstance(given, str) else given, where)


def _check_tower(
    block: Block, side: str, spec: TowerSpec | None, fusion: FusionManifest
) -> TowerSpec:
    """The spec of a tower that offers what the fusion requires, or IncompatibleError."""
    tower = "image" if side == "image" else "text"
    if spec is None:
        raise IncompatibleError(
            f"The encoder '{block.type}' has no {tower} tower: name another one with "
            f"--{tower}-encoder."
        )
    offered = {
        kind for kind, dim in (("pooled", spec.pooled), ("tokens", spec.tokens)) if dim is not None
    }
    missing = kinds(fusion.requires, side) - offered
    if missing:
        raise IncompatibleError(
            f"The fusion requires {side}.{sorted(missing)[0]}, but the {tower} tower of "
            f"'{block.type}' offers only {', '.join(sorted(offered))}: choose another fusion "
            f"('vqazoo list fusions --compatible-with encoder={block.type}') or encoder."
        )
    return spec
