"""The contract of encoders. Imports torch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from vqazoo.blocks import read_side
from vqazoo.data.answers import normalise
from vqazoo.errors import ConfigError, IncompatibleError
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    ImageTowerSpec,
    Preprocess,
    TextTowerSpec,
    TowerSpec,
    WeightsReference,
)
from vqazoo.interfaces.towers import offered_kinds
from vqazoo.manifests import POOLED, TOKENS, EncoderManifest
from vqazoo.modes import evaluating
from vqazoo.testing.checks import (
    check_signature,
    generator,
    require,
    require_close,
    require_features,
    require_finite,
    require_same,
)
from vqazoo.testing.devices import elsewhere, require_elsewhere, sent
from vqazoo.testing.parts import builder, faults_told, identify, needed, variant_of


def check_encoder(
    part: str | type[Encoder] | Encoder, manifest: EncoderManifest | None = None, **args: Any
) -> None:
    """Run an encoder, with pretrained or random weights, through its contract.

    Args:
        part: an encoder that was built, or its registered name or class, of which one is built
            with random weights and every tower that the manifest has.
        manifest: the towers may offer only what it declares; of a name or class, default: the
            installed one.
        args: some of the arguments of a name or class; the others take their defaults.

    Raises:
        AssertionError: a shape, dtype, mask, or token is not what the contract says, or a row
            depends on its batch, or a block of one tower holds parameters of the other.
    """
    encoder, owner, manifest = _built(part, manifest, args)
    with faults_told(owner, ""):
        _check(owner, encoder, manifest)


def _check(owner: str, encoder: Encoder, manifest: EncoderManifest | None) -> None:
    spec = getattr(encoder, "spec", None)
    if not isinstance(spec, EncoderSpec):
        raise AssertionError(f"{owner}: its constructor must set self.spec, an EncoderSpec.")
    reference = encoder.reference
    require(
        reference is None or isinstance(reference, WeightsReference),
        owner,
        f"reference is {reference!r}, but a WeightsReference or None was expected",
    )
    require(bool(spec.image or spec.text), owner, "its spec has neither tower")
    if manifest is not None:
        for side, tower in (("image", spec.image), ("text", spec.text)):
            extra = offered_kinds(tower) - getattr(manifest, side)
            require(
                not extra, owner, f"its {side} tower offers {sorted(extra)}, the manifest does not"
            )
    try:
        encoder.lend("no such module")
    except IncompatibleError:
        pass
    else:
        require(False, owner, "lend('no such module') must raise IncompatibleError")
    with evaluating(encoder), torch.no_grad():
        if spec.image is not None:
            _check_image_tower(owner, encoder, spec.image)
        if spec.text is not None:
            _check_text_tower(owner, encoder, spec.text)
    _check_blocks(owner, encoder)
    _check_device(owner, encoder)


def _built(
    part: str | type[Encoder] | Encoder, manifest: EncoderManifest | None, args: dict[str, Any]
) -> tuple[Encoder, str, EncoderManifest | None]:
    """The encoder itself, how messages name it, and its manifest."""
    if isinstance(part, Encoder):
        return part, type(part).__name__, manifest
    owner, known, component = identify(EncoderManifest, part, manifest)
    declared = needed(owner, known)
    sides = {"image": declared.image, "text": declared.text}
    towers = frozenset(side for side, kinds in sides.items() if kinds)
    check_signature(owner, declared, component, ["variant", "towers"])
    build = builder(owner, declared, component, args, variant_of(part), towers)
    return cast(Encoder, build(0)).eval(), owner, declared


def _check_device(owner: str, encoder: Encoder) -> None:
    """Features are on the device of the encoder, and nothing they are made with is on another."""
    spec = encoder.spec
    with elsewhere(owner, encoder):
        if spec.image is not None:
            pixels = torch.randn(2, 3, *spec.preprocess.size, generator=generator())
            where = f"{owner}, image tower"
            require_elsewhere(where, encoder.encode_image(sent(pixels), offered_kinds(spec.image)))
        if spec.text is not None:
            ids, mask = encoder.tokenize(["why?", "what is the small thing on the table?"])
            where = f"{owner}, text tower"
            wants = offered_kinds(spec.text)
            require_elsewhere(where, encoder.encode_text(sent(ids), sent(mask), wants))


def _check_blocks(owner: str, encoder: Encoder) -> None:
    """Each block of a tower has parameters of its own, which encoding the other side leaves out."""
    parameters = {name for name, _ in encoder.named_parameters()}
    reading = {side: read_side(encoder, side).parameters for side in ("image", "text")}
    for side, other in (("image", "text"), ("text", "image")):
        if (encoder.spec.image if side == "image" else encoder.spec.text) is None:
            continue
        try:
            blocks = encoder.blocks(side)
        except ConfigError:
            continue  # it says that it has none, and unfreeze_blocks says so too
        where = f"{owner}, {side} tower"
        require(bool(blocks), where, "blocks() gives no block: raise ConfigError instead")
        seen: set[str] = set()
        for number, prefixes in enumerate(blocks):
            inside = {name for name in parameters if name.startswith(tuple(prefixes))}
            require(bool(inside), where, f"block {number}, {prefixes}, has no parameter")
            twice = sorted(inside & seen)
            require(not twice, where, f"'{(twice or [''])[0]}' is in two blocks")
            seen |= inside
            shared = sorted(inside & reading[other])
            require(
                not shared,
                where,
                f"block {number} holds '{(shared or [''])[0]}', which the {other} tower reads too",
            )
            require(
                bool(inside & reading[side]),
                where,
                f"block {number}, {prefixes}, gets no gradient from the {side} tower",
            )


def _check_image_tower(owner: str, encoder: Encoder, tower: ImageTowerSpec) -> None:
    owner = f"{owner}, image tower"
    require(isinstance(tower.preprocess, Preprocess), owner, "its preprocess is missing")
    pixels = torch.randn(3, 3, *tower.preprocess.size, generator=generator())

    def encode(rows: slice, wants: frozenset[str]) -> Features:
        return encoder.encode_image(pixels[rows], wants)

    _check_tower(owner, encode, tower, count=3)


def _check_text_tower(owner: str, encoder: Encoder, tower: TextTowerSpec) -> None:
    owner = f"{owner}, text tower"
    texts = ["why?", "what is the colour of the small thing on the table?", "is it a dog or a cat?"]
    longest = tower.context_length
    require(isinstance(longest, int), owner, "its context_length is missing")
    ids, mask = encoder.tokenize(texts)
    require(
        ids.dtype == torch.int64 and mask.dtype == torch.bool and ids.shape == mask.shape,
        owner,
        "tokenize must return ids int64 and mask bool of one shape (B, L), but returned "
        f"{ids.dtype} {tuple(ids.shape)} and {mask.dtype} {tuple(mask.shape)}",
    )
    lengths = mask.sum(dim=1)
    expected = torch.arange(ids.shape[1]) < lengths[:, None]
    require(torch.equal(mask, expected), owner, "tokenize must pad on the right")
    require(
        int(lengths.max()) == ids.shape[1], owner, "tokenize must pad to the longest text, no more"
    )
    endless, endless_mask = encoder.tokenize(["what is that thing there " * 400])
    require(
        endless.shape[1] <= longest,
        owner,
        f"tokenize kept {endless.shape[1]} tokens of a long text, but the longest is {longest}",
    )
    require(
        bool(endless[0, -1] == ids[0, lengths[0] - 1]),
        owner,
        "a text that is cut must still end with the end token",
    )
    require_finite(owner, encoder.encode_text(endless, endless_mask, offered_kinds(tower)))

    def encode(rows: slice, wants: frozenset[str]) -> Features:
        return encoder.encode_text(*encoder.tokenize(texts[rows]), wants)

    _check_tower(owner, encode, tower, count=len(texts))
    try:
        embedding = encoder.lend("token_embedding")
    except IncompatibleError:
        return
    _check_spelling(owner, encoder, embedding)


def _check_spelling(owner: str, encoder: Encoder, embedding: nn.Module) -> None:
    """`pieces`, `decode`, and the embedding that heads writing token by token borrow."""
    require(
        isinstance(embedding, nn.Embedding),
        owner,
        f"lend('token_embedding') must give an nn.Embedding, not a {type(embedding).__name__}",
    )
    size = cast(nn.Embedding, embedding).num_embeddings
    for name in ("start_id", "end_id"):
        token = getattr(encoder, name, None)
        require(
            isinstance(token, int) and 0 <= token < size,
            owner,
            f"{name} is {token}, but it must be a token of the embedding, 0 to {size - 1}",
        )
    texts = ["red", "dark blue", "3", "red " * 300]
    spelled = encoder.pieces(texts)
    for text, tokens in zip(texts, spelled, strict=True):
        require(
            not {encoder.start_id, encoder.end_id} & set(tokens),
            owner,
            f"pieces({text[:20]!r}) holds the start or end token",
        )
        require(
            all(0 <= token < size for token in tokens),
            owner,
            f"pieces({text[:20]!r}) holds a token that the embedding lacks",
        )
        said = encoder.decode(tokens)
        require(
            normalise(said) == normalise(text),
            owner,
            f"decode(pieces({text[:20]!r})) is {said[:40]!r}",
        )


def _check_tower(owner: str, encode: Any, tower: TowerSpec, count: int) -> None:
    """`encode(rows, wants)` gives what was asked for and no more, of the widths in the spec."""
    offered = offered_kinds(tower)
    require(bool(offered), owner, "the spec offers neither pooled nor tokens")
    every = slice(0, count)
    text = isinstance(tower, TextTowerSpec)
    full: Features = encode(every, offered)
    for wants in {offered, *(frozenset({kind}) for kind in offered)}:
        features: Features = encode(every, wants)
        require_features(owner, f"encode_{'text' if text else 'image'}", features)
        given = frozenset(kind for kind in (POOLED, TOKENS) if getattr(features, kind) is not None)
        require(given == wants, owner, f"{sorted(wants)} was wanted, but {sorted(given)} was given")
        require(len(features) == count, owner, f"{count} rows went in, {len(features)} came out")
        require_finite(owner, features)
        for kind in wants:
            tensor, width = getattr(features, kind), getattr(tower, kind)
            require(
                tensor.shape[-1] == width,
                owner,
                f"{kind} is {tensor.shape[-1]} wide, but the spec says {width}",
            )
            require_close(
                owner, getattr(full, kind), tensor, f"{kind} depends on what else is wanted"
            )
    if full.tokens is not None:
        require(full.num_prefix <= full.tokens.shape[1], owner, "num_prefix exceeds the tokens")
    if full.pooled is not None:
        norms = full.pooled.norm(dim=1)
        if tower.normalized:
            require_close(
                owner, torch.ones_like(norms), norms, "the spec says norm 1, but pooled has not"
            )
        require(
            not torch.equal(full.pooled[0], full.pooled[1]),
            owner,
            "two different inputs give the same vector",
        )
    for row in range(count):
        alone = encode(slice(row, row + 1), offered)
        require_same(owner, full.index(slice(row, row + 1)), alone)
