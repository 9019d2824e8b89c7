"""What the checks of encoders, fusions and heads share. Imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor, nn

from vqazoo.constructors import check_complete
from vqazoo.interfaces import Answer, Features, FusedSpec, TowerSpec
from vqazoo.manifests import POOLED, TOKENS, Manifest
from vqazoo.registry import kind_of

TOLERANCE = 1e-4  # of float32 results that must agree, relative and absolute


def require(holds: bool, owner: str, problem: str) -> None:
    """Like `assert`, but also with `python -O`."""
    if not holds:
        raise AssertionError(f"{owner}: {problem}.")


def require_close(owner: str, expected: Tensor, actual: Tensor, problem: str) -> None:
    """Raise AssertionError if tensors differ by more than rounding does."""
    require(expected.shape == actual.shape, owner, f"{problem} (shapes differ)")
    good = torch.allclose(expected, actual, rtol=TOLERANCE, atol=TOLERANCE)
    require(good, owner, f"{problem}, by up to {(expected - actual).abs().max().item():.2g}")


def require_features(owner: str, method: str, given: object) -> None:
    """Raise AssertionError if what a method returned is no Features."""
    told = f"{method} must return Features(pooled=...) or Features(tokens=..., mask=...)"
    require(isinstance(given, Features), owner, f"{told}, but returns a {type(given).__name__}")


def require_answers(owner: str, answers: object) -> None:
    """Raise AssertionError if what `predict` returned is no list of Answers for each row."""
    told = "predict must return a list with a list of Answers for each row, also where top_k is 1"
    if not isinstance(answers, list) or not all(isinstance(row, list) for row in answers):
        raise AssertionError(f"{owner}: {told}.")
    for answer in (each for row in answers for each in row):
        require(isinstance(answer, Answer), owner, f"predict must give Answers, not {answer!r}")
        require(
            isinstance(answer.text, str) and isinstance(answer.score, float),
            owner,
            f"an Answer has a text and a float, but predict gives {answer!r}",
        )


def require_finite(owner: str, features: Features) -> None:
    """Raise AssertionError if features are not float32, or hold NaN or infinity."""
    for kind, tensor in features.tensors().items():
        if kind != "mask":
            require(tensor.dtype == torch.float32, owner, f"{kind} is {tensor.dtype}, not float32")
            require(bool(tensor.isfinite().all()), owner, f"{kind} holds NaN or infinity")


def require_same(owner: str, expected: Features, actual: Features) -> None:
    """The same features; tokens are compared where they are real."""
    require(
        expected.tensors().keys() == actual.tensors().keys(),
        owner,
        f"it gives now {sorted(expected.tensors())}, now {sorted(actual.tensors())}",
    )
    problem = "alone, in a batch, padded and restored, a row must stay the same"
    if expected.pooled is not None and actual.pooled is not None:
        require_close(owner, expected.pooled, actual.pooled, f"pooled differs: {problem}")
    if expected.tokens is not None and actual.tokens is not None:
        real = expected.tokens[expected.mask], actual.tokens[actual.mask]
        require_close(owner, *real, f"tokens differ: {problem}")


def check_signature(owner: str, manifest: Manifest, component: type, positional: list[str]) -> None:
    """The constructor takes what the core passes, then the manifest's arguments by keyword."""
    check_complete(kind_of(type(manifest)), owner, component)
    parameters = list(inspect.signature(component).parameters.values())
    given, rest = parameters[: len(positional)], parameters[len(positional) :]
    require(
        len(given) == len(positional),
        owner,
        f"its constructor must take {', '.join(positional)} by position",
    )
    names = {
        parameter.name for parameter in rest if parameter.kind != inspect.Parameter.VAR_KEYWORD
    }
    differing = names ^ set(manifest.args)
    require(
        not differing, owner, f"manifest and constructor differ in {', '.join(sorted(differing))}"
    )
    doubled = [
        parameter.name for parameter in rest if parameter.default is not inspect.Parameter.empty
    ]
    for name, arg in manifest.args.items():
        arg.check(owner, name, arg.default)
    require(not doubled, owner, f"defaults belong in the manifest only, not also on {doubled}")


def check_fused(owner: str, out: FusedSpec, fused: Features, rows: int) -> None:
    """Raise AssertionError if fused features are not what `out` says of them."""
    require_features(owner, "forward", fused)
    tensor = getattr(fused, out.kind)
    require(tensor is not None, owner, f"it gives no {out.kind} features")
    require(len(fused) == rows, owner, f"{rows} rows went in, {len(fused)} came out")
    width = tensor.shape[-1]
    require(width == out.dim, owner, f"out.dim is {out.dim}, but {width} came out")
    require_finite(owner, fused)


def check_gradients(owner: str, part: nn.Module) -> None:
    """Raise AssertionError if a parameter that trains has no finite gradient."""
    for name, parameter in part.named_parameters():
        if parameter.requires_grad:
            require(parameter.grad is not None, owner, f"'{name}' gets no gradient")
            finite = bool(cast(Tensor, parameter.grad).isfinite().all())
            require(finite, owner, f"the gradient of '{name}' holds NaN or infinity")


def generator(seed: int = 0) -> torch.Generator:
    """A random generator of that seed."""
    return torch.Generator().manual_seed(seed)


def random_features(tower: TowerSpec, rows: int, count: int, seed: int) -> Features:
    """Random features; of `count` tokens, each row but the first has one more padded."""
    source = generator(seed)
    pooled = tokens = mask = None
    if tower.pooled is not None:
        pooled = torch.randn(rows, tower.pooled, generator=source)
    if tower.tokens is not None:
        tokens = torch.randn(rows, count, tower.tokens, generator=source)
        lengths = (count - torch.arange(rows)).clamp(min=1)
        mask = torch.arange(count) < lengths[:, None]
    return Features(pooled, tokens, mask)


def with_padding(features: Features) -> Features:
    """The same rows with three more tokens, and large values wherever a token is not real."""
    if features.tokens is None or features.mask is None:
        return features
    rows, _, width = features.tokens.shape
    tokens = torch.cat([features.tokens, torch.zeros(rows, 3, width)], dim=1)
    mask = torch.cat([features.mask, torch.zeros(rows, 3, dtype=torch.bool)], dim=1)
    padded = Features(features.pooled, tokens.masked_fill(~mask[:, :, None], 50.0), mask)
    return padded.with_ocr(features.ocr_tokens)


def only(tower: TowerSpec, kinds: Collection[str]) -> TowerSpec:
    """The tower, offering no more than these kinds."""
    pooled = tower.pooled if POOLED in kinds else None
    return TowerSpec(pooled, tower.tokens if TOKENS in kinds else None)
