"""A fusion and a head that a user gives as a class or an object, without a name. Imports torch.

They declare what a manifest would in an attribute `manifest`; without one it is told from them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from vqazoo.config import Block
from vqazoo.errors import ConfigError, IncompatibleError, VqazooError
from vqazoo.interfaces import (
    FusedSpec,
    Fusion,
    GivesLogits,
    Head,
    TowerSpec,
    Writes,
)
from vqazoo.interfaces.towers import offered_kinds
from vqazoo.manifests import FusionManifest, HeadManifest, Manifest
from vqazoo.model import OBJECT, VQAModel
from vqazoo.modes import evaluating

P = TypeVar("P", bound=nn.Module)
M = TypeVar("M", bound=Manifest)


def own_part(given: Any, base: type[P]) -> P | type[P] | None:
    """The part, if it is a class or an object; None: it is a name or a table.

    Raises:
        ConfigError: it is one, but not of the base that its kind has.
    """
    if not isinstance(given, nn.Module | type):
        return None
    if isinstance(given, base) or (isinstance(given, type) and issubclass(given, base)):
        return given
    kind = base.__name__.lower()
    raise ConfigError(
        f"The {kind} is {_class_name(given)}, but a name, or a class derived from "
        f"vqazoo.interfaces.{base.__name__} or an object of one was expected."
    )


def block_of(part: Any) -> Block:
    """What a config says of a part without a name: its class."""
    return Block(OBJECT + _class_name(part))


def built(part: P | type[P], *context: Any) -> P:
    """The object itself, or one of the class, built as the registry would."""
    return part(*context) if isinstance(part, type) else part


def declared(part: Any, manifest: type[M]) -> M | None:
    """The manifest that a part itself declares."""
    declaration = getattr(part, "manifest", None)
    return declaration if isinstance(declaration, manifest) else None


def fusion_manifest_of(fusion: Fusion, image: TowerSpec, text: TowerSpec) -> FusionManifest:
    """What is declared for a fusion that says nothing: it gets all that the towers offer."""
    sides = (("image", image), ("text", text))
    requires = frozenset(f"{side}.{kind}" for side, spec in sides for kind in offered_kinds(spec))
    return FusionManifest(summary=_class_name(fusion), requires=requires, provides=fusion.out.kind)


def head_manifest_of(head: Head, fused: FusedSpec) -> HeadManifest:
    """What is declared for a head that says nothing: it writes its answers if it shows how
    (`Writes`), and else chooses from the list."""
    writes = isinstance(head, Writes) and not isinstance(head, GivesLogits)
    return HeadManifest(
        summary=_class_name(head),
        requires=fused.kind,
        answer_mode="generate" if writes else "classify",
        default_fusion="",
    )


def check_joined(model: VQAModel) -> None:
    """Ask two questions about an empty picture, since nobody declared which parts fit.

    Raises:
        IncompatibleError: that fails, or gives no answer to each.
    """
    fusion, head = model.config.fusion.type, model.config.head.type
    size = model.image_encoder.spec.preprocess.size
    try:
        with evaluating(model), torch.inference_mode():
            fused = model(torch.zeros(2, 3, *size), ["why?", "what is it?"])
            ranked = model.head.predict(fused)
    except VqazooError:
        raise
    except Exception as error:  # whatever a part does that was not made for the other
        reason = str(error).splitlines()[0] if str(error) else ""
        raise IncompatibleError(
            f"The fusion '{fusion}' and the head '{head}' cannot answer with these encoders "
            f"({type(error).__name__}: {reason}): check the widths with which they were built, "
            f"for instance with vqazoo.testing.check_head."
        ) from error
    if len(ranked) != 2 or not all(ranked):
        raise IncompatibleError(
            f"The head '{head}' gives {len(ranked)} rows of answers to 2 questions, but one row "
            f"for each, with one answer or more, was expected."
        )


def _class_name(part: Any) -> str:
    return part.__name__ if isinstance(part, type) else type(part).__name__
