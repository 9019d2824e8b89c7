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
from vqazoo.errors import ConfigError, IncompatibleError, PluginError
from vqazoo.faults import faults_named
from vqazoo.interfaces import Encoder, EncoderSpec, FusedSpec, Fusion, Head, TowerSpec
from vqazoo.interfaces.towers import offered_kinds
from vqazoo.keywords import names_keywords
from vqazoo.manifests import FusionManifest, HeadManifest
from vqazoo.model import VQAModel, kinds, pick_device
from vqazoo.names import two_towers
from vqazoo.own_parts import (
    block_of,
    built,
    check_joined,
    declared,
    fusion_manifest_of,
    head_manifest_of,
    own_part,
)
from vqazoo.registry import registry
from vqazoo.toolkit.finite import check_pretrained, fill_pretrained

BlockLike = str | Mapping[str, Any] | Block


@faults_named()
@names_keywords
def create(
    *,
    head: BlockLike | Head | type[Head],
    answers: Iterable[str],
    encoder: BlockLike | None = None,
    image_encoder: BlockLike | None = None,
    text_encoder: BlockLike | None = None,
    fusion: BlockLike | Fusion | type[Fusion] | None = None,
    pretrained: bool = True,
) -> VQAModel:
    """Build an untrained model from names of parts, ready to train or inspect.

    Args:
        head: name, or a table {"type": ..., "args": {...}}; the same holds for the other parts.
            Head and fusion may also be classes of yours, or objects of them: such a model
            answers and is evaluated, but no checkpoint can name it (see
            docs/how-to/from-a-notebook.md).
        answers: the answers the model shall know.
        encoder: both towers, also as `IMAGE+TEXT`; `image_encoder` and `text_encoder` replace one.
        fusion: the head's default if None.
        pretrained: whether to load the encoder weights that the names ask for.

    Raises:
        UnknownNameError, ConfigError, IncompatibleError, WeightsError: see the message.
    """
    named = two_towers(encoder, registry.names("encoder")) if isinstance(encoder, str) else None
    both = named or (encoder, encoder)
    image, text = image_encoder or both[0], text_encoder or both[1]
    if image is None or text is None:
        missing = "image_encoder" if image is None else "text_encoder"
        raise ConfigError(f"No {missing} is named: give encoder= for both towers, or {missing}=.")
    own_fusion = own_part(fusion, Fusion)  # type: ignore[type-abstract]
    own_head = own_part(head, Head)  # type: ignore[type-abstract]
    head_block = _named_block("head", head, own_head)
    if fusion is None:
        manifest = declared(own_head, HeadManifest)
        if own_head is None:
            manifest = registry.manifest("head", head_block.type)
        if manifest is None:
            raise ConfigError(
                "The head is yours, and names no fusion of its own: give fusion= as well."
            )
        fusion = Block(manifest.default_fusion, dict(manifest.default_fusion_args))
    config = ModelConfig(
        fill_block("encoder", _block(image, "image_encoder")),
        fill_block("encoder", _block(text, "text_encoder")),
        _named_block("fusion", fusion, own_fusion),
        head_block,
    )
    known = AnswerList.from_texts(answers)
    if own_fusion is None and own_head is None:
        return build_model(config, known, pretrained)
    towers = build_towers(config)
    model = assemble(config, towers, known, own_fusion, own_head).cpu()  # as the towers are
    if pretrained:
        _load_towers(config, towers)
    check_joined(model)
    return model


def build_to_encode(config: ModelConfig, device: str) -> VQAModel:
    """A model whose towers alone are used, on a device; its head knows one answer."""
    model = build_model(config, AnswerList.from_texts(["yes"]))
    return model.to(pick_device(device))


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
        _load_towers(config, towers)
    return model


def _load_towers(config: ModelConfig, towers: nn.ModuleDict) -> None:
    named = {"text": config.text_encoder.type}
    for key, module in towers.items():
        encoder, name = cast(Encoder, module), named.get(key, config.image_encoder.type)
        fill_pretrained(encoder, name)
        check_pretrained(encoder, name)


def assemble(
    config: ModelConfig,
    towers: nn.ModuleDict,
    answers: AnswerList,
    own_fusion: Fusion | type[Fusion] | None = None,
    own_head: Head | type[Head] | None = None,
) -> VQAModel:
    """A model of these encoders, with a fusion and head of random weights, in eval mode.

    Args:
        own_fusion, own_head: in place of those that the config names.

    Raises:
        IncompatibleError: parts do not fit.
    """
    image = cast(Encoder, towers["both" if "both" in towers else "image"])
    text = cast(Encoder, towers["both" if "both" in towers else "text"])
    fusion_manifest = declared(own_fusion, FusionManifest)
    if own_fusion is None:
        fusion_manifest = registry.manifest("fusion", config.fusion.type)
    requires = fusion_manifest.requires if fusion_manifest else frozenset()
    image_spec = _check_tower(config.image_encoder, "image", image.spec.image, requires)
    text_spec = _check_tower(config.text_encoder, "text", text.spec.text, requires)
    fusion: Fusion
    if own_fusion is None:
        fusion = registry.build(
            "fusion", config.fusion.type, image_spec, text_spec, **config.fusion.args
        )
    else:
        fusion = built(own_fusion, image_spec, text_spec)
        _check_out(config.fusion.type, fusion, fusion_manifest)
        fusion_manifest = fusion_manifest or fusion_manifest_of(fusion, image_spec, text_spec)
    _check_out(config.fusion.type, fusion, fusion_manifest)
    head: Head
    head_manifest = None  # that of its name
    if own_head is None:
        head = registry.build(
            "head", config.head.type, fusion.out, answers, text, **config.head.args
        )
    else:
        head = built(own_head, fusion.out, answers, text)
        head_manifest = declared(own_head, HeadManifest) or head_manifest_of(head, fusion.out)
    model = VQAModel(config, towers, fusion, head, answers, fusion_manifest, head_manifest)
    return model.eval()


def build_towers(config: ModelConfig, apart: bool = False) -> nn.ModuleDict:
    """The encoders with random weights: `both`, or `image` and `text`.

    Args:
        apart: build two also where their blocks are equal, as older releases did for two spellings
            of one name.
    """
    if config.image_encoder == config.text_encoder and not apart:
        return nn.ModuleDict({"both": _build_encoder(config.image_encoder, {"image", "text"})})
    return nn.ModuleDict(
        {
            "image": _build_encoder(config.image_encoder, {"image"}),
            "text": _build_encoder(config.text_encoder, {"text"}),
        }
    )


def _build_encoder(block: Block, towers: set[str]) -> Encoder:
    variant = block.type.partition(":")[2] or None
    encoder: Encoder = registry.build(
        "encoder", block.type, variant, frozenset(towers), **block.args
    )
    if not isinstance(getattr(encoder, "spec", None), EncoderSpec):
        raise PluginError(
            f"The encoder '{block.type}' has no spec: its constructor must set self.spec, an "
            f"EncoderSpec."
        )
    return encoder


def _named_block(kind: str, given: Any, own: Any) -> Block:
    """The block of a part: filled, or of an object, which only says its class."""
    return fill_block(kind, _block(given, kind)) if own is None else block_of(own)


def _block(given: BlockLike, where: str) -> Block:
    if isinstance(given, Block):
        return given
    return parse(Block, {"type": given} if isinstance(given, str) else given, where)


def _check_out(name: str, fusion: Fusion, manifest: FusionManifest | None) -> None:
    """Raises PluginError: the fusion does not say what it gives, or not what its manifest says."""
    out = getattr(fusion, "out", None)
    if not isinstance(out, FusedSpec):
        raise PluginError(
            f"The fusion '{name}' has out={out!r}: its constructor must set self.out, a "
            f"FusedSpec(kind, dim)."
        )
    if manifest is not None and out.kind != manifest.provides:
        raise PluginError(
            f"The fusion '{name}' gives {out.kind}, but its manifest provides "
            f"{manifest.provides}: one of them must change."
        )


def _check_tower(
    block: Block, side: str, spec: TowerSpec | None, requires: frozenset[str]
) -> TowerSpec:
    """The spec of a tower that offers what a fusion requires, or IncompatibleError."""
    if spec is None:
        raise IncompatibleError(
            f"The encoder '{block.type}' has no {side} tower: name another one with "
            f"--{side}-encoder."
        )
    offered = offered_kinds(spec)
    missing = kinds(requires, side) - offered
    if missing:
        raise IncompatibleError(
            f"The fusion requires {side}.{sorted(missing)[0]}, but the {side} tower of "
            f"'{block.type}' offers only {', '.join(sorted(offered))}: choose another fusion "
            f"('vqazoo list fusions --compatible-with encoder={block.type}') or encoder."
        )
    return spec
