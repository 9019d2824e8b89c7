"""Which parts fit together, told from manifests alone. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Iterable

from vqazoo.errors import ConfigError, IncompatibleError, did_you_mean
from vqazoo.manifests import SIDES, EncoderManifest, FusionManifest, HeadManifest
from vqazoo.registry import registry

PARTS = ("encoder", "image_encoder", "text_encoder", "fusion", "head")
SHOWN = 4  # fitting parts named in a message


def check_compatible(image_ref: str, text_ref: str, fusion_ref: str, head_ref: str) -> None:
    """Check encoder towers against the fusion, and the fusion against the head.

    Widths are checked when the parts are built.

    Raises:
        IncompatibleError: two parts do not fit; the message names both and parts that would.
        UnknownNameError, PluginError: a part cannot be found or used.
    """
    fusion = registry.manifest("fusion", fusion_ref)
    for side, ref in (("image", image_ref), ("text", text_ref)):
        encoder = registry.manifest("encoder", ref)
        offered, required = _offered(encoder, side), _required(fusion, side)
        missing = required - offered
        if offered and not missing:
            continue
        fitting = _examples(
            name
            for name, m in registry.usable(EncoderManifest)
            if _offered(m, side) and required <= _offered(m, side)
        )
        if not offered:
            raise IncompatibleError(
                f"The encoder '{ref}' has no {side} tower, but the fusion '{fusion_ref}' joins "
                f"image and question: name another encoder for this tower with --{side}-encoder, "
                f"such as {fitting}."
            )
        fusions = _shown(compatible("fusion", **{f"{side}_encoder": ref, "head": head_ref}))
        raise IncompatibleError(
            f"The fusion '{fusion_ref}' requires {side}.{min(missing)}, but the {side} tower "
            f"of the encoder '{ref}' offers only {_listed(offered)}: choose another fusion "
            f"({fusions}) or another --{side}-encoder ({fitting})."
        )
    head = registry.manifest("head", head_ref)
    if head.requires != fusion.provides:
        raise IncompatibleError(
            f"The head '{head_ref}' requires {head.requires} features, but the fusion "
            f"'{fusion_ref}' provides {fusion.provides}: choose another fusion "
            f"({_shown(compatible('fusion', head=head_ref))}) or another head "
            f"({_shown(compatible('head', fusion=fusion_ref))})."
        )
    text = registry.manifest("encoder", text_ref)
    if lacking := head.borrows - text.lends:
        lenders = _examples(
            n for n, m in registry.usable(EncoderManifest) if m.text and head.borrows <= m.lends
        )
        raise IncompatibleError(
            f"The head '{head_ref}' borrows the {min(lacking)} of the text encoder, but "
            f"'{text_ref}' lends {_listed(text.lends) or 'nothing'}: name another --text-encoder "
            f"({lenders}) or another head "
            f"({_shown(compatible('head', text_encoder=text_ref, fusion=fusion_ref))})."
        )


def compatible(kind: str, **chosen: str) -> list[str]:
    """Names of a kind that fit what is chosen; parts not chosen may be any that are installed.

    An encoder chosen as `encoder` is held to the towers that it has. Broken plugins are left out.

    Args:
        kind: `encoder`, `fusion` or `head`.
        chosen: references by part: `encoder`, `image_encoder`, `text_encoder`, `fusion`, `head`.

    Raises:
        ConfigError: a kind or part that is not one of these.
        UnknownNameError, PluginError: a chosen part cannot be found or used.
        IncompatibleError: a chosen tower is absent.
    """
    for part in chosen:
        if part not in PARTS:
            raise ConfigError(
                f"Compatibility with {part!r} is not known.{did_you_mean(part, PARTS)} "
                f"It can be asked for {', '.join(PARTS)}."
            )
    if kind not in ("encoder", "fusion", "head"):
        raise ConfigError(f"Compatibility is known of encoders, fusions and heads, not {kind}s.")
    chosen = {
        part: registry.canonical(part if part in ("fusion", "head") else "encoder", ref)
        for part, ref in chosen.items()
    }
    towers = {side: _chosen_tower(side, chosen) for side in SIDES}
    text = chosen.get("text_encoder") or (chosen.get("encoder") if towers["text"] else None)
    lent = registry.manifest("encoder", text).lends if text else None
    fusion_ref, head_ref = chosen.get("fusion"), chosen.get("head")
    fusions = (
        [(fusion_ref, registry.manifest("fusion", fusion_ref))]
        if fusion_ref is not None
        else list(registry.usable(FusionManifest))
    )
    heads = (
        [(head_ref, registry.manifest("head", head_ref))]
        if head_ref is not None
        else list(registry.usable(HeadManifest))
    )

    def joined(
        fusion: FusionManifest,
        head: HeadManifest,
        offers: dict[str, frozenset[str] | None],
        lent: frozenset[str] | None = lent,
    ) -> bool:
        if lent is not None and not head.borrows <= lent:
            return False
        return head.requires == fusion.provides and all(
            kinds is None or _required(fusion, side) <= kinds for side, kinds in offers.items()
        )

    if kind == "fusion":
        return [
            name for name, fusion in fusions if any(joined(fusion, h, towers) for _, h in heads)
        ]
    if kind == "head":
        return [name for name, head in heads if any(joined(f, head, towers) for _, f in fusions)]
    return [
        name
        for name, encoder in registry.usable(EncoderManifest)
        if any(
            joined(
                fusion,
                head,
                {side: _offered(encoder, side) or None for side in SIDES},
                encoder.lends if encoder.text else None,
            )
            for _, fusion in fusions
            for _, head in heads
        )
    ]


def _chosen_tower(side: str, chosen: dict[str, str]) -> frozenset[str] | None:
    """Kinds that the chosen tower offers; None: it is open."""
    own = chosen.get(f"{side}_encoder")
    ref = own or chosen.get("encoder")
    if ref is None:
        return None
    offered = _offered(registry.manifest("encoder", ref), side)
    if not offered and own is not None:
        raise IncompatibleError(
            f"The encoder '{ref}' has no {side} tower: name another one as {side}-encoder."
        )
    return offered or None


def _offered(encoder: EncoderManifest, side: str) -> frozenset[str]:
    return encoder.image if side == "image" else encoder.text


def _required(fusion: FusionManifest, side: str) -> frozenset[str]:
    return frozenset(
        kind.removeprefix(f"{side}.") for kind in fusion.requires if kind.startswith(f"{side}.")
    )


def _examples(names: Iterable[str]) -> str:
    """References that can be typed: a family's example, or the name."""
    manifests = dict(registry.usable(EncoderManifest))
    return _shown([manifests[name].example or name for name in names])


def _shown(names: list[str]) -> str:
    if not names:
        return "none is installed"
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _listed(kinds: Iterable[str]) -> str:
    return " and ".join(sorted(kinds))
