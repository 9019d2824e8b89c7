"""The contract of heads. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import (
    Answer,
    Captions,
    Encoder,
    Features,
    FusedSpec,
    Head,
    RanksAnswers,
    Targets,
    TowerSpec,
)
from vqazoo.manifests import POOLED, HeadManifest
from vqazoo.modes import evaluating
from vqazoo.registry import registry
from vqazoo.testing.checks import (
    TOLERANCE,
    check_gradients,
    check_signature,
    only,
    random_features,
    require,
    require_answers,
    require_close,
    with_padding,
)
from vqazoo.testing.devices import Elsewhere, elsewhere, sent
from vqazoo.testing.memory import check_memory
from vqazoo.testing.ocr import with_words
from vqazoo.testing.parts import builder, faults_told, identify, needed
from vqazoo.testing.protocols import check_protocols
from vqazoo.testing.toy import toy_encoder
from vqazoo.toolkit.losses import adds_up, batch_sums, row_units, weighted_loss

KNOWN_ANSWERS = AnswerList(("yes", "no", "dark blue", "don't know", "3"), (5, 4, 3, 2, 2))
UNLISTED = "zebra"  # an answer that KNOWN_ANSWERS lacks
STEPS = 60  # of training, after which the loss of a head must have fallen


def check_head(
    part: str | type[Head] | Head,
    *,
    manifest: HeadManifest | None = None,
    dim: int = 18,
    text_encoder: Encoder | None = None,
    **args: Any,
) -> None:
    """Build a head for fused vectors or tokens `dim` wide and run it through its contract.

    Args:
        part: its registered name, its class, or a head that was built for `ANSWERS` of this module.
        manifest: of a class or object that is not installed.
        dim: width of the fused features.
        text_encoder: what the head may borrow from; a ToyEncoder if none is given.
        args: some of its arguments; the others take their defaults.

    Raises:
        AssertionError: the manifest lies, a borrowed tensor would be saved, targets do not stay
            with their rows, sums of the loss do not add up, the loss does not fall, a parameter
            gets no gradient, answers depend on the batch, saved tensors do not restore the head, or
            what it offers besides (protocols of vqazoo.interfaces such as `GivesLogits`) is not
            what its manifest says, or not what it answers by.
    """
    owner, known, component = identify(HeadManifest, part, manifest)
    manifest = needed(owner, known)
    fields = "fused.pooled" if manifest.requires == POOLED else "fused.tokens and fused.mask"
    with faults_told(owner, f"Its manifest requires {manifest.requires}: it gets {fields}."):
        _check(owner, manifest, component, dim, text_encoder, args)


def _check(
    owner: str,
    manifest: HeadManifest,
    component: Any,
    dim: int,
    text_encoder: Encoder | None,
    args: dict[str, Any],
) -> None:
    if isinstance(component, type):
        check_signature(owner, manifest, component, ["fused", "answers", "text_encoder"])
    _check_head_manifest(owner, manifest)
    encoder = text_encoder or toy_encoder()
    spec = FusedSpec(manifest.requires, dim)
    build = builder(owner, manifest, component, args, spec, KNOWN_ANSWERS, encoder)
    with _lending_only(owner, encoder, manifest.borrows):
        head = build(0)
    _check_nothing_borrowed_is_owned(owner, head, encoder)
    examples = [
        Example(Path("image.png"), "what?", (text,), str(number), targets=((text, 1.0),))
        for number, text in enumerate((*KNOWN_ANSWERS.texts, UNLISTED))
    ]
    offered = only(TowerSpec(dim, dim), {manifest.requires})
    fused = random_features(offered, len(examples), 5, seed=5)
    examples, fused = with_words(owner, head, manifest, examples, fused)
    _check_targets(owner, head, fused, examples)
    _check_learning(owner, head, fused, head.targets(examples), manifest.remembers)
    if manifest.remembers:
        check_memory(owner, head, fused, [e for e in examples if e.target != UNLISTED])
    with evaluating(head), torch.no_grad():
        _check_answers(owner, head, manifest, fused)
        check_protocols(owner, head, manifest, fused, KNOWN_ANSWERS, encoder)
        restored = build(1)
        restored.load_state_dict(head.state_dict(), strict=True)
        require(
            restored.eval().predict(fused) == head.predict(fused),
            owner,
            "restored from its state_dict it answers differently",
        )
    _check_sums(owner, build(0), fused, head.targets(examples))
    _check_device(owner, head, encoder, manifest, fused, examples)


def _check_device(
    owner: str,
    head: Head,
    encoder: Encoder,
    manifest: HeadManifest,
    fused: Features,
    examples: Sequence[Example],
) -> None:
    """Loss and answers, also by every strategy and of given answers, on another device."""
    targets = head.targets(examples)
    options: list[dict[str, Any]] = [{}]
    for name, arg in manifest.decode.items():
        options += [{name: choice} for choice in arg.choices]
    with elsewhere(owner, head, encoder):
        loss, _ = head.loss(sent(fused), sent(targets))
        require(isinstance(loss, Elsewhere), owner, "its loss is on the CPU, whatever its device")
        for decode in options:
            head.predict(sent(fused), **decode)
        head.predict(sent(fused), 3)
        if isinstance(head, RanksAnswers):
            head.rank(sent(fused), list(KNOWN_ANSWERS.texts))
        if isinstance(head, Captions):
            head.caption(sent(fused))


def _check_head_manifest(owner: str, manifest: HeadManifest) -> None:
    require(
        manifest.answer_mode in ("classify", "generate"),
        owner,
        f"answer_mode is {manifest.answer_mode!r}, but it must be 'classify' or 'generate'",
    )
    default = registry.manifest("fusion", manifest.default_fusion)
    require(
        default.provides == manifest.requires,
        owner,
        f"its default fusion provides {default.provides}, but it requires {manifest.requires}",
    )
    registry.fill("fusion", manifest.default_fusion, dict(manifest.default_fusion_args))


def _check_nothing_borrowed_is_owned(owner: str, head: Head, encoder: Encoder) -> None:
    lent = {tensor.data_ptr() for tensor in encoder.state_dict().values()}
    kept = [name for name, tensor in head.state_dict().items() if tensor.data_ptr() in lent]
    require(not kept, owner, f"its state_dict holds borrowed tensors: {', '.join(kept)}")
    own = {id(module) for module in head.modules()}
    require(
        not any(id(module) in own for module in encoder.modules()),
        owner,
        "it registers a borrowed module as its own; keep it in a tuple",
    )


def _check_targets(owner: str, head: Head, fused: Features, examples: Sequence[Example]) -> None:
    """Targets are tensors with a row an example, and stay right when rows are picked."""
    targets = head.targets(examples)
    for name, tensor in targets.items():
        require(
            isinstance(tensor, Tensor) and len(tensor) == len(examples),
            owner,
            f"target '{name}' must be a tensor with one row an example",
        )
    rows = torch.tensor([3, 0])
    with evaluating(head), torch.no_grad():
        result = head.loss(fused, targets)
        require(
            isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor),
            owner,
            "loss must return a scalar and a table of its named parts, such as (loss, {})",
        )
        picked, _ = head.loss(fused.index(rows), _rows(targets, rows))
        direct, _ = head.loss(fused.index(rows), head.targets([examples[3], examples[0]]))
        require_close(owner, direct, picked, "picked rows of the targets give another loss")
        outside, _ = head.loss(fused.index(slice(-1, None)), _rows(targets, slice(-1, None)))
    require(
        bool(outside.isfinite()),
        owner,
        f"the loss of a batch with only unknown answers is {outside.item()}",
    )


def _check_sums(owner: str, head: Head, fused: Features, targets: Targets) -> None:
    """Gradients of unequal batches, each with its sums over the units of all, are those of all."""
    if not adds_up(head):
        return  # it is weighted by its rows
    units = row_units(head, targets)
    for name, each in units.items():
        require(
            each.shape == (len(fused),) and bool((each >= 0).all() and each.isfinite().all()),
            owner,
            f"loss_units of '{name}' must be (B,), finite and 0 or more",
        )
    whole = {name: each.sum().item() for name, each in units.items()}
    learning = [p for p in head.parameters() if p.requires_grad]
    with evaluating(head), torch.enable_grad():
        head.zero_grad()
        head.loss(fused, targets)[0].backward()
        together = [None if p.grad is None else p.grad.clone() for p in learning]
        head.zero_grad()
        for rows in (slice(0, 1), slice(1, None)):
            sums, _ = batch_sums(head, fused.index(rows), _rows(targets, rows))
            require(
                sums.keys() == units.keys(),
                owner,
                f"loss_sums names {sorted(sums)}, but loss_units {sorted(units)}",
            )
            weighted_loss(head, sums, whole).backward()
    for parameter, expected in zip(learning, together, strict=True):
        if expected is not None:
            require_close(
                owner,
                expected,
                cast(Tensor, parameter.grad),
                "sums of its loss over two batches do not add up to that of both",
            )
    head.zero_grad()


def _check_learning(
    owner: str, head: Head, fused: Features, targets: Targets, remembers: bool
) -> None:
    """A scalar loss with a gradient for every parameter, which falls when it is minimised."""
    torch.manual_seed(0)
    head.train()
    leaf = getattr(fused, "pooled" if fused.pooled is not None else "tokens").requires_grad_()
    loss, parts = head.loss(fused, targets)
    require(
        loss.dim() == 0 and bool(loss.isfinite()),
        owner,
        f"the loss must be a finite scalar, but its shape is {tuple(loss.shape)}: {loss}",
    )
    require(
        all(isinstance(value, float) for value in parts.values()),
        owner,
        "the named parts of the loss must be floats",
    )
    loss.backward()
    check_gradients(owner, head)
    require(leaf.grad is not None, owner, "no gradient reaches the fusion")
    leaf.requires_grad_(False)
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    with evaluating(head), torch.no_grad():
        before = head.loss(fused, targets)[0].item()
    for _ in range(STEPS):
        optimiser.zero_grad()
        head.loss(fused, targets)[0].backward()
        optimiser.step()
    with evaluating(head), torch.no_grad():
        after = head.loss(fused, targets)[0].item()
    require(
        remembers or after < 0.8 * before,
        owner,
        f"its loss on {len(fused)} rows went from {before:.3f} to {after:.3f} in {STEPS} steps, "
        f"but it should fall well below",
    )


def _check_answers(owner: str, head: Head, manifest: HeadManifest, fused: Features) -> None:
    """Answers are ranked, deterministic, and the same alone, in a batch, and with padding."""
    defaults = {name: arg.default for name, arg in manifest.decode.items()}
    options: list[dict[str, Any]] = [{}, defaults]
    for name, arg in manifest.decode.items():
        options += [{**defaults, name: choice} for choice in arg.choices]
    for decode in options:
        answers = head.predict(fused, **decode)
        require_answers(owner, answers)
        require(len(answers) == len(fused), owner, "predict must answer every row")
        require(all(len(row) == 1 for row in answers), owner, "top_k 1 must give one answer")
        require(head.predict(fused, **decode) == answers, owner, "its answers vary between calls")
        for row, (expected,) in enumerate(answers):
            single = slice(row, row + 1)
            _same_answer(owner, expected, head.predict(fused.index(single), **decode)[0][0])
            _same_answer(owner, expected, head.predict(with_padding(fused), **decode)[row][0])
    require(
        head.predict(fused, 1, **defaults) == head.predict(fused),
        owner,
        "its manifest's decode defaults are not those of predict",
    )
    for top_k in (3, len(KNOWN_ANSWERS) + 2):
        for ranked in head.predict(fused, top_k):
            texts, scores = [answer.text for answer in ranked], [answer.score for answer in ranked]
            require(1 <= len(ranked) <= top_k, owner, f"top_k {top_k} gave {len(ranked)} answers")
            require(len(set(texts)) == len(texts), owner, f"answers repeat: {texts}")
            require(scores == sorted(scores, reverse=True), owner, f"not best first: {scores}")
            total = max(scores) if manifest.independent_scores else sum(scores)
            require(
                min(scores) >= 0 and total <= 1 + TOLERANCE,
                owner,
                f"scores are no probabilities of different answers: {scores}",
            )
            if manifest.answer_mode == "classify":
                require(set(texts) <= set(KNOWN_ANSWERS.texts), owner, f"not in the list: {texts}")
                require(
                    len(ranked) == min(top_k, len(KNOWN_ANSWERS)),
                    owner,
                    f"top_k {top_k} of {len(KNOWN_ANSWERS)} answers gave {len(ranked)}",
                )


def _same_answer(owner: str, expected: Answer, actual: Answer) -> None:
    require(
        expected.text == actual.text and abs(expected.score - actual.score) < TOLERANCE,
        owner,
        f"a row is answered {expected} in a batch, but {actual} alone or padded",
    )


@contextmanager
def _lending_only(owner: str, encoder: Encoder, borrows: frozenset[str]) -> Iterator[None]:
    """Within, the encoder lends only what the manifest declares."""
    lend = encoder.lend

    def guarded(name: str) -> nn.Module:
        require(name in borrows, owner, f"it borrows '{name}', which its manifest leaves out")
        return lend(name)

    encoder.lend = guarded  # type: ignore[method-assign]
    try:
        yield
    finally:
        del encoder.lend


def _rows(targets: Targets, rows: Tensor | slice) -> Targets:
    return {name: tensor[rows] for name, tensor in targets.items()}
