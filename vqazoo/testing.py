"""Conformance checks for plugin authors: run a part through its whole contract. Imports torch.

    from vqazoo.testing import check_encoder, check_fusion, check_head

    def test_my_head_keeps_the_contract():
        check_head("my-head")

A part that breaks its contract raises AssertionError, which names the part and what is wrong. Parts
are named as on the command line, so they must be installed or offered with `registry.register`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqazoo.answers import AnswerList, normalise
from vqazoo.data import Example
from vqazoo.errors import IncompatibleError
from vqazoo.interfaces import (
    Answer,
    Encoder,
    EncoderSpec,
    Features,
    FusedSpec,
    Fusion,
    Head,
    Preprocess,
    Targets,
    TowerSpec,
)
from vqazoo.manifests import (
    POOLED,
    TOKENS,
    Arg,
    EncoderManifest,
    FusionManifest,
    HeadManifest,
    Manifest,
)
from vqazoo.registry import registry

TOLERANCE = 1e-4  # of float32 results that must agree, relative and absolute
IMAGE = TowerSpec(pooled=20, tokens=24)  # all widths differ, so that a mix-up cannot hide
QUESTION = TowerSpec(pooled=12, tokens=28)
ANSWERS = AnswerList(("yes", "no", "dark blue", "don't know", "3"), (5, 4, 3, 2, 2))
OUTSIDE = "zebra"  # an answer that ANSWERS lacks
STEPS = 60  # of training, after which the loss of a head must have fallen


# ---- encoders -----------------------------------------------------------------------------------


def check_encoder(encoder: Encoder, manifest: EncoderManifest | None = None) -> None:
    """Run an encoder, with pretrained or random weights, through its contract.

    Args:
        encoder: already built.
        manifest: if given, the towers may offer only what it declares.

    Raises:
        AssertionError: a shape, dtype, mask, or token is not what the contract says, or a row
            depends on its batch.
    """
    owner = type(encoder).__name__
    spec = encoder.spec
    _require(bool(spec.image or spec.question), owner, "its spec has neither tower")
    if manifest is not None:
        for side, tower in (("image", spec.image), ("question", spec.question)):
            extra = _offered(tower) - getattr(manifest, side)
            _require(
                not extra, owner, f"its {side} tower offers {sorted(extra)}, the manifest does not"
            )
    try:
        encoder.lend("no such module")
    except IncompatibleError:
        pass
    else:
        _require(False, owner, "lend('no such module') must raise IncompatibleError")
    with _evaluating(encoder):
        if spec.image is not None:
            _check_image_tower(owner, encoder, spec.image)
        if spec.question is not None:
            _check_text_tower(owner, encoder, spec.question)


def _check_image_tower(owner: str, encoder: Encoder, tower: TowerSpec) -> None:
    owner = f"{owner}, image tower"
    _require(encoder.spec.preprocess is not None, owner, "spec.preprocess is missing")
    height, width = cast(Preprocess, encoder.spec.preprocess).size
    pixels = torch.randn(3, 3, height, width, generator=_generator())

    def encode(rows: slice, wants: frozenset[str]) -> Features:
        return encoder.encode_image(pixels[rows], wants)

    _check_tower(owner, encode, tower, count=3)


def _check_text_tower(owner: str, encoder: Encoder, tower: TowerSpec) -> None:
    owner = f"{owner}, text tower"
    texts = ["why?", "what is the colour of the small thing on the table?", "is it a dog or a cat?"]
    longest = encoder.spec.context_length
    assert longest is not None, f"{owner}: spec.context_length is missing."
    ids, mask = encoder.tokenize(texts)
    _require(
        ids.dtype == torch.int64 and mask.dtype == torch.bool and ids.shape == mask.shape, owner,
        "tokenize must return ids int64 and mask bool of one shape (B, L), but returned "
        f"{ids.dtype} {tuple(ids.shape)} and {mask.dtype} {tuple(mask.shape)}",
    )  # fmt: skip
    lengths = mask.sum(dim=1)
    expected = torch.arange(ids.shape[1]) < lengths[:, None]
    _require(torch.equal(mask, expected), owner, "tokenize must pad on the right")
    _require(
        int(lengths.max()) == ids.shape[1], owner, "tokenize must pad to the longest text, no more"
    )
    endless, endless_mask = encoder.tokenize(["what is that thing there " * 400])
    _require(
        endless.shape[1] <= longest, owner,
        f"tokenize kept {endless.shape[1]} tokens of a long text, but the longest is {longest}",
    )  # fmt: skip
    _require(
        endless[0, -1] == ids[0, lengths[0] - 1], owner,
        "a text that is cut must still end with the end token",
    )  # fmt: skip
    _finite(owner, encoder.encode_question(endless, endless_mask, _offered(tower)))

    def encode(rows: slice, wants: frozenset[str]) -> Features:
        return encoder.encode_question(*encoder.tokenize(texts[rows]), wants)

    _check_tower(owner, encode, tower, count=len(texts))
    try:
        embedding = encoder.lend("token_embedding")
    except IncompatibleError:
        return
    _check_spelling(owner, encoder, embedding)


def _check_spelling(owner: str, encoder: Encoder, embedding: nn.Module) -> None:
    """`pieces`, `decode`, and the embedding that heads writing token by token borrow."""
    _require(
        isinstance(embedding, nn.Embedding), owner,
        f"lend('token_embedding') must give an nn.Embedding, not a {type(embedding).__name__}",
    )  # fmt: skip
    size = cast(nn.Embedding, embedding).num_embeddings
    for name in ("start_id", "end_id"):
        token = getattr(encoder, name, None)
        _require(
            isinstance(token, int) and 0 <= token < size, owner,
            f"{name} is {token}, but it must be a token of the embedding, 0 to {size - 1}",
        )  # fmt: skip
    texts = ["red", "dark blue", "3", "red " * 300]
    spelled = encoder.pieces(texts)
    for text, tokens in zip(texts, spelled, strict=True):
        _require(
            not {encoder.start_id, encoder.end_id} & set(tokens), owner,
            f"pieces({text[:20]!r}) holds the start or end token",
        )  # fmt: skip
        _require(
            all(0 <= token < size for token in tokens), owner,
            f"pieces({text[:20]!r}) holds a token that the embedding lacks",
        )  # fmt: skip
        said = encoder.decode(tokens)
        _require(
            normalise(said) == normalise(text), owner,
            f"decode(pieces({text[:20]!r})) is {said[:40]!r}",
        )  # fmt: skip


def _check_tower(owner: str, encode: Any, tower: TowerSpec, count: int) -> None:
    """`encode(rows, wants)` gives what was asked for and no more, of the widths in the spec."""
    offered = _offered(tower)
    _require(bool(offered), owner, "the spec offers neither pooled nor tokens")
    every = slice(0, count)
    full: Features = encode(every, offered)
    for wants in {offered, *(frozenset({kind}) for kind in offered)}:
        found: Features = encode(every, wants)
        given = frozenset(kind for kind in (POOLED, TOKENS) if getattr(found, kind) is not None)
        _require(
            given == wants, owner, f"{sorted(wants)} was wanted, but {sorted(given)} was given"
        )
        _require(len(found) == count, owner, f"{count} rows went in, {len(found)} came out")
        _finite(owner, found)
        for kind in wants:
            tensor, width = getattr(found, kind), getattr(tower, kind)
            _require(
                tensor.shape[-1] == width, owner,
                f"{kind} is {tensor.shape[-1]} wide, but the spec says {width}",
            )  # fmt: skip
            _close(owner, getattr(full, kind), tensor, f"{kind} depends on what else is wanted")
    if full.tokens is not None:
        _require(full.num_prefix <= full.tokens.shape[1], owner, "num_prefix exceeds the tokens")
    if full.pooled is not None:
        norms = full.pooled.norm(dim=1)
        if tower.normalized:
            _close(owner, torch.ones_like(norms), norms, "the spec says norm 1, but pooled has not")
        _require(
            not torch.equal(full.pooled[0], full.pooled[1]), owner,
            "two different inputs give the same vector",
        )  # fmt: skip
    for row in range(count):
        alone = encode(slice(row, row + 1), offered)
        _same_row(owner, full.index(slice(row, row + 1)), alone)


# ---- fusions ------------------------------------------------------------------------------------


def check_fusion(ref: str, **args: Any) -> None:
    """Build a fusion for towers of several widths and run it through its contract.

    Args:
        ref: its registered name.
        args: some of its arguments; the others take their defaults.

    Raises:
        AssertionError: the manifest lies, a shape is wrong, padding matters, a row depends on its
            batch, a side is ignored, a parameter gets no gradient, or saved tensors do not restore
            the fusion.
    """
    owner = f"The fusion '{ref}'"
    manifest = cast(FusionManifest, registry.manifest("fusion", ref))
    _check_signature(owner, manifest, registry.component("fusion", ref), ["image", "question"])
    sides = {}
    for side, tower in (("image", IMAGE), ("question", QUESTION)):
        kinds = {kind for kind in (POOLED, TOKENS) if f"{side}.{kind}" in manifest.requires}
        _require(bool(kinds), owner, f"it requires nothing of the {side}")
        sides[side] = TowerSpec(**{k: getattr(tower, k) if k in kinds else None
                                   for k in (POOLED, TOKENS)})  # fmt: skip

    def build(seed: int) -> Fusion:
        torch.manual_seed(seed)
        return cast(Fusion, registry.build("fusion", ref, *sides.values(), **args))

    fusion = build(0).eval()
    _require(
        fusion.out.kind == manifest.provides, owner,
        f"out.kind is '{fusion.out.kind}', but the manifest provides '{manifest.provides}'",
    )  # fmt: skip
    image, question = _random(sides["image"], 4, 5, seed=1), _random(sides["question"], 4, 6, 2)
    with torch.no_grad():
        fused = fusion(image, question)
        _check_fused(owner, fusion.out, fused, rows=4)
        for row in range(4):
            one = slice(row, row + 1)
            _same_row(owner, fused.index(one), fusion(image.index(one), question.index(one)))
        padded = fusion(_padded(image), _padded(question))
        for row in range(4):
            one = slice(row, row + 1)
            _same_row(f"{owner}, with padded tokens", fused.index(one), padded.index(one))
        for side, other in (
            ("image", fusion(_random(sides["image"], 4, 5, seed=3), question)),
            ("question", fusion(image, _random(sides["question"], 4, 6, seed=4))),
        ):
            first, second = getattr(fused, fusion.out.kind), getattr(other, fusion.out.kind)
            _require(not torch.allclose(first, second), owner, f"it ignores the {side}")
        restored = build(1)
        restored.load_state_dict(fusion.state_dict(), strict=True)
        again = restored.eval()(image, question)
        _same_row(f"{owner}, restored from its state_dict", fused, again, exact=True)
    fusion.train()
    result = getattr(fusion(image, question), fusion.out.kind)
    (result * torch.randn(result.shape, generator=_generator())).sum().backward()
    _check_gradients(owner, fusion)


# ---- heads --------------------------------------------------------------------------------------


def check_head(
    ref: str, *, dim: int = 18, text_encoder: Encoder | None = None, **args: Any
) -> None:
    """Build a head for fused vectors or tokens `dim` wide and run it through its contract.

    Args:
        ref: its registered name.
        dim: width of the fused features.
        text_encoder: what the head may borrow from; a ToyEncoder if none is given.
        args: some of its arguments; the others take their defaults.

    Raises:
        AssertionError: the manifest lies, a borrowed tensor would be saved, targets do not stay
            with their rows, the loss does not fall, a parameter gets no gradient, answers depend on
            the batch, or saved tensors do not restore the head.
    """
    owner = f"The head '{ref}'"
    manifest = cast(HeadManifest, registry.manifest("head", ref))
    component = registry.component("head", ref)
    _check_signature(owner, manifest, component, ["fused", "answers", "text_encoder"])
    _check_head_manifest(owner, manifest)
    encoder = text_encoder or toy_encoder()

    def build(seed: int) -> Head:
        torch.manual_seed(seed)
        spec = FusedSpec(manifest.requires, dim)
        return cast(Head, registry.build("head", ref, spec, ANSWERS, encoder, **args))

    with _lending_only(owner, encoder, manifest.borrows):
        head = build(0)
    _check_nothing_borrowed_is_owned(owner, head, encoder)
    examples = [
        Example(Path("image.png"), "what?", (text,), str(number))
        for number, text in enumerate((*ANSWERS.texts, OUTSIDE))
    ]
    tower = TowerSpec(**{k: dim if k == manifest.requires else None for k in (POOLED, TOKENS)})
    fused = _random(tower, len(examples), 5, seed=5)
    _check_targets(owner, head, fused, examples)
    _check_learning(owner, head, fused, head.targets(examples))
    with _evaluating(head):
        _check_answers(owner, head, manifest, fused)
        restored = build(1)
        restored.load_state_dict(head.state_dict(), strict=True)
        _require(
            restored.eval().predict(fused) == head.predict(fused), owner,
            "restored from its state_dict it answers differently",
        )  # fmt: skip


def _check_head_manifest(owner: str, manifest: HeadManifest) -> None:
    _require(
        manifest.answer_mode in ("classify", "generate"), owner,
        f"answer_mode is {manifest.answer_mode!r}, but it must be 'classify' or 'generate'",
    )  # fmt: skip
    default = cast(FusionManifest, registry.manifest("fusion", manifest.default_fusion))
    _require(
        default.provides == manifest.requires, owner,
        f"its default fusion provides {default.provides}, but it requires {manifest.requires}",
    )  # fmt: skip
    registry.fill("fusion", manifest.default_fusion, dict(manifest.default_fusion_args))


def _check_nothing_borrowed_is_owned(owner: str, head: Head, encoder: Encoder) -> None:
    lent = {tensor.data_ptr() for tensor in encoder.state_dict().values()}
    kept = [name for name, tensor in head.state_dict().items() if tensor.data_ptr() in lent]
    _require(not kept, owner, f"its state_dict holds borrowed tensors: {', '.join(kept)}")
    own = {id(module) for module in head.modules()}
    _require(
        not any(id(module) in own for module in encoder.modules()), owner,
        "it registers a borrowed module as its own; keep it in a tuple",
    )  # fmt: skip


def _check_targets(owner: str, head: Head, fused: Features, examples: Sequence[Example]) -> None:
    """Targets are tensors with a row an example, and stay right when rows are picked."""
    targets = head.targets(examples)
    for name, tensor in targets.items():
        _require(
            isinstance(tensor, Tensor) and len(tensor) == len(examples), owner,
            f"target '{name}' must be a tensor with one row an example",
        )  # fmt: skip
    rows = torch.tensor([3, 0])
    with _evaluating(head), torch.no_grad():
        picked, _ = head.loss(fused.index(rows), _rows(targets, rows))
        direct, _ = head.loss(fused.index(rows), head.targets([examples[3], examples[0]]))
        _close(owner, direct, picked, "picked rows of the targets give another loss")
        outside, _ = head.loss(fused.index(slice(-1, None)), _rows(targets, slice(-1, None)))
    _require(
        bool(outside.isfinite()), owner,
        f"the loss of a batch with only unknown answers is {outside.item()}",
    )  # fmt: skip


def _check_learning(owner: str, head: Head, fused: Features, targets: Targets) -> None:
    """A scalar loss with a gradient for every parameter, which falls when it is minimised."""
    torch.manual_seed(0)
    head.train()
    loss, parts = head.loss(fused, targets)
    _require(
        loss.dim() == 0 and bool(loss.isfinite()), owner,
        f"the loss must be a finite scalar, but its shape is {tuple(loss.shape)}: {loss}",
    )  # fmt: skip
    _require(
        all(isinstance(value, float) for value in parts.values()), owner,
        "the named parts of the loss must be floats",
    )  # fmt: skip
    loss.backward()
    _check_gradients(owner, head)
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    with _evaluating(head), torch.no_grad():
        before = head.loss(fused, targets)[0].item()
    for _ in range(STEPS):
        optimiser.zero_grad()
        head.loss(fused, targets)[0].backward()
        optimiser.step()
    with _evaluating(head), torch.no_grad():
        after = head.loss(fused, targets)[0].item()
    _require(
        after < 0.8 * before, owner,
        f"its loss on {len(fused)} rows went from {before:.3f} to {after:.3f} in {STEPS} steps, "
        f"but it should fall well below",
    )  # fmt: skip


def _check_answers(owner: str, head: Head, manifest: HeadManifest, fused: Features) -> None:
    """Answers are ranked, deterministic, and the same alone, in a batch, and with padding."""
    defaults = {name: arg.default for name, arg in manifest.decode.items()}
    options: list[dict[str, Any]] = [{}, defaults]
    for name, arg in manifest.decode.items():
        options += [{**defaults, name: choice} for choice in arg.choices]
    for decode in options:
        answers = head.predict(fused, **decode)
        _require(len(answers) == len(fused), owner, "predict must answer every row")
        _require(all(len(row) == 1 for row in answers), owner, "top_k 1 must give one answer")
        _require(head.predict(fused, **decode) == answers, owner, "its answers vary between calls")
        for row, (expected,) in enumerate(answers):
            one = slice(row, row + 1)
            _same_answer(owner, expected, head.predict(fused.index(one), **decode)[0][0])
            _same_answer(owner, expected, head.predict(_padded(fused), **decode)[row][0])
    _require(
        head.predict(fused, 1, **defaults) == head.predict(fused), owner,
        "its manifest's decode defaults are not those of predict",
    )  # fmt: skip
    for top_k in (3, len(ANSWERS) + 2):
        for row in head.predict(fused, top_k):
            texts, scores = [one.text for one in row], [one.score for one in row]
            _require(1 <= len(row) <= top_k, owner, f"top_k {top_k} gave {len(row)} answers")
            _require(len(set(texts)) == len(texts), owner, f"answers repeat: {texts}")
            _require(scores == sorted(scores, reverse=True), owner, f"not best first: {scores}")
            _require(
                min(scores) >= 0 and sum(scores) <= 1 + TOLERANCE, owner,
                f"scores are no probabilities of different answers: {scores}",
            )  # fmt: skip
            if manifest.answer_mode == "classify":
                _require(set(texts) <= set(ANSWERS.texts), owner, f"not in the list: {texts}")
                _require(
                    len(row) == min(top_k, len(ANSWERS)), owner,
                    f"top_k {top_k} of {len(ANSWERS)} answers gave {len(row)}",
                )  # fmt: skip


def _same_answer(owner: str, expected: Answer, found: Answer) -> None:
    _require(
        expected.text == found.text and abs(expected.score - found.score) < TOLERANCE, owner,
        f"a row is answered {expected} in a batch, but {found} alone or padded",
    )  # fmt: skip


@contextmanager
def _lending_only(owner: str, encoder: Encoder, borrows: frozenset[str]) -> Iterator[None]:
    """Within, the encoder lends only what the manifest declares."""
    lend = encoder.lend

    def guarded(name: str) -> nn.Module:
        _require(name in borrows, owner, f"it borrows '{name}', which its manifest leaves out")
        return lend(name)

    encoder.lend = guarded  # type: ignore[method-assign]
    try:
        yield
    finally:
        del encoder.lend


# ---- what all checks need -----------------------------------------------------------------------


def _require(holds: bool, owner: str, problem: str) -> None:
    """Like `assert`, but also with `python -O`."""
    if not holds:
        raise AssertionError(f"{owner}: {problem}.")


def _close(owner: str, expected: Tensor, found: Tensor, problem: str) -> None:
    _require(expected.shape == found.shape, owner, f"{problem} (shapes differ)")
    good = torch.allclose(expected, found, rtol=TOLERANCE, atol=TOLERANCE)
    _require(good, owner, f"{problem}, by up to {(expected - found).abs().max().item():.2g}")


def _finite(owner: str, features: Features) -> None:
    for kind, tensor in features.tensors().items():
        if kind != "mask":
            _require(tensor.dtype == torch.float32, owner, f"{kind} is {tensor.dtype}, not float32")
            _require(bool(tensor.isfinite().all()), owner, f"{kind} holds NaN or infinity")


def _same_row(owner: str, expected: Features, found: Features, exact: bool = False) -> None:
    """One row of features; tokens are compared where they are real."""
    problem = "differs" if exact else "a row depends on its batch or on padding"
    if expected.pooled is not None and found.pooled is not None:
        _close(owner, expected.pooled, found.pooled, f"pooled: {problem}")
    if expected.tokens is not None and found.tokens is not None:
        real = expected.tokens[expected.mask], found.tokens[found.mask]
        _close(owner, *real, f"tokens: {problem}")


def _check_signature(
    owner: str, manifest: Manifest, component: type, positional: list[str]
) -> None:
    """The constructor takes what the core passes, then the manifest's arguments by keyword."""
    parameters = list(inspect.signature(component).parameters.values())
    given, rest = parameters[: len(positional)], parameters[len(positional) :]
    _require(
        len(given) == len(positional), owner,
        f"its constructor must take {', '.join(positional)} by position",
    )  # fmt: skip
    names = {one.name for one in rest if one.kind != inspect.Parameter.VAR_KEYWORD}
    differing = names ^ set(manifest.args)
    _require(
        not differing, owner, f"manifest and constructor differ in {', '.join(sorted(differing))}"
    )
    doubled = [one.name for one in rest if one.default is not inspect.Parameter.empty]
    _require(
        not doubled, owner, f"defaults belong in the manifest only, not also on {doubled}"
    )


def _check_fused(owner: str, out: FusedSpec, fused: Features, rows: int) -> None:
    tensor = getattr(fused, out.kind)
    _require(tensor is not None, owner, f"it gives no {out.kind} features")
    _require(len(fused) == rows, owner, f"{rows} rows went in, {len(fused)} came out")
    found = tensor.shape[-1]
    _require(found == out.dim, owner, f"out.dim is {out.dim}, but {found} came out")
    _finite(owner, fused)


def _check_gradients(owner: str, part: nn.Module) -> None:
    for name, parameter in part.named_parameters():
        if parameter.requires_grad:
            _require(parameter.grad is not None, owner, f"'{name}' gets no gradient")
            finite = bool(cast(Tensor, parameter.grad).isfinite().all())
            _require(finite, owner, f"the gradient of '{name}' holds NaN or infinity")


def _offered(tower: TowerSpec | None) -> frozenset[str]:
    kinds = (POOLED, TOKENS)
    return frozenset(k for k in kinds if tower is not None and getattr(tower, k) is not None)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random(tower: TowerSpec, rows: int, count: int, seed: int) -> Features:
    """Random features; of `count` tokens, each row but the first has one more padded."""
    generator = _generator(seed)
    pooled = tokens = mask = None
    if tower.pooled is not None:
        pooled = torch.randn(rows, tower.pooled, generator=generator)
    if tower.tokens is not None:
        tokens = torch.randn(rows, count, tower.tokens, generator=generator)
        lengths = (count - torch.arange(rows)).clamp(min=1)
        mask = torch.arange(count) < lengths[:, None]
    return Features(pooled, tokens, mask)


def _padded(features: Features) -> Features:
    """The same rows with three more tokens, and large values wherever a token is not real."""
    if features.tokens is None or features.mask is None:
        return features
    rows, _, width = features.tokens.shape
    tokens = torch.cat([features.tokens, torch.zeros(rows, 3, width)], dim=1)
    mask = torch.cat([features.mask, torch.zeros(rows, 3, dtype=torch.bool)], dim=1)
    return Features(features.pooled, tokens.masked_fill(~mask[:, :, None], 50.0), mask)


def _rows(targets: Targets, rows: Tensor | slice) -> Targets:
    return {name: tensor[rows] for name, tensor in targets.items()}


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; the mode is put back afterwards."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


# ---- an encoder to test with --------------------------------------------------------------------

TOY = EncoderManifest(
    summary="untrained towers for tests: 8 x 8 pixels, bytes as tokens",
    args={
        "width": Arg(int, 16, "of a token embedding"),
        "vocabulary": Arg(int, 258, "rows of the token embedding; at least 258"),
    },
    image=frozenset({POOLED, TOKENS}),
    question=frozenset({POOLED, TOKENS}),
)


class ToyEncoder(Encoder):
    """Random towers that run in microseconds: four patches, and one token a UTF-8 byte.

    Image: pooled (B, 10), tokens (B, 5, 12) with one prefix token. Question: pooled (B, 14), tokens
    (B, L, width). Padding is byte 0, a real token, so that only the mask tells it apart.
    """

    start_id, end_id = 256, 257

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, width: int, vocabulary: int
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, stride=4)
        self.pool_image = nn.Linear(12, 10)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(32, width)
        self.mix = nn.Linear(width, width)
        self.pool_question = nn.Linear(width, 14)
        self.spec = EncoderSpec(
            image=TowerSpec(10, 12),
            question=TowerSpec(14, width),
            preprocess=Preprocess((8, 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            context_length=32,
        )

    def load_pretrained(self) -> None:
        """Weights stay random."""

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        patches = self.patch(pixels).flatten(2).transpose(1, 2)  # (B, 4, 12)
        mean = patches.mean(dim=1)  # (B, 12)
        pooled = self.pool_image(mean) if POOLED in wants else None  # (B, 10)
        if TOKENS not in wants:
            return Features(pooled)
        tokens = torch.cat([mean[:, None], patches], dim=1)  # (B, 5, 12)
        return Features(pooled, tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool), 1)

    def encode_question(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.token_embedding(ids) + self.position(places)  # (B, L, width)
        x = self.mix(x).tanh()  # (B, L, width)
        mean = (x * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)  # (B, width)
        pooled = self.pool_question(mean) if POOLED in wants else None  # (B, 14)
        return Features(pooled, x, mask) if TOKENS in wants else Features(pooled)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [[self.start_id, *spelled[:30], self.end_id] for spelled in self.pieces(texts)]
        lengths = torch.tensor([len(row) for row in rows])
        longest = int(lengths.max())
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return ids, torch.arange(longest) < lengths[:, None]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token for token in ids if token < 256).decode(errors="replace")

    def lend(self, name: str) -> nn.Module:
        if name == "token_embedding":
            return self.token_embedding
        raise IncompatibleError(f"ToyEncoder lends its token_embedding, not '{name}'.")


def toy_encoder(width: int = 16, vocabulary: int = 258, seed: int = 0) -> ToyEncoder:
    """A ToyEncoder with both towers, in eval mode, the same for the same seed."""
    torch.manual_seed(seed)
    towers = frozenset({"image", "question"})
    return ToyEncoder(None, towers, width=width, vocabulary=vocabulary).eval()
