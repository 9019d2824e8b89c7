"""Decode options: those that all writing heads share, and what given ones ask for. Torch-free.

An option that one strategy alone reads names it (`Arg.strategy`), so that an option without its
strategy chooses it, and one against the chosen strategy is an error instead of having no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqazoo.errors import ConfigError
from vqazoo.manifests import Arg, HeadManifest, fill_args

GREEDY, NUCLEUS, BEAM = "greedy", "nucleus", "beam"
STRATEGY, BEAM_SIZE = "strategy", "beam_size"

# Names as in transformers' GenerationConfig where the meaning is the same.
CONSTRAINTS = {
    "min_tokens": Arg(int, 0, "shortest answer: the end is not written before", minimum=0),
    "repetition_penalty": Arg(
        float,
        1.0,
        "above 1 makes tokens that were written, or read before them, less likely "
        "(Keskar et al. 2019)",
        minimum=1e-6,
    ),
    "no_repeat_ngram_size": Arg(int, 0, "no n tokens in a row occur twice; 0: off", minimum=0),
}
EARLY_STOPPING = Arg(
    str,
    "false",
    "beam: false stops where improvement is unlikely, true at beam_size finished "
    "answers, never only where none can be better",
    ("false", "true", "never"),
    strategy=BEAM,
)
SAMPLE_K = Arg(
    int,
    0,
    "nucleus: draw from at most so many likeliest tokens; 0: all",
    minimum=0,
    strategy=NUCLEUS,
)


def choose(
    head: str,
    manifest: HeadManifest,
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    top_k: int = 1,
) -> dict[str, Any]:
    """The options that `Head.predict` is called with.

    Args:
        head: registry name, for messages; manifest: its own.
        defaults: of the model, in place of those of its head.
        given: by the user; without a `strategy` they choose the one that reads them.
        top_k: answers that are asked for; more than one are always found by beam search, unless
            the strategy is another that the head has for it.

    Raises:
        ConfigError: an option is not known, of another type, or read by another strategy.
    """
    owner = f"Answering with the head '{head}'"
    filled = fill_args(owner, manifest.decode, given)
    options = {name: filled[name] for name in given}
    if STRATEGY not in manifest.decode:
        return {**defaults, **options}
    readers = {
        name: manifest.decode[name].strategy for name in options if manifest.decode[name].strategy
    }
    if options.get(BEAM_SIZE) == 1 and options.get(STRATEGY, GREEDY) == GREEDY:
        readers.pop(BEAM_SIZE, None)  # one beam is greedy search
        if top_k == 1 and not readers:
            options[STRATEGY] = GREEDY
    if STRATEGY in options:
        _check_readers(owner, options[STRATEGY], readers, top_k)
    elif len(set(readers.values())) > 1:
        named = " and ".join(f"'{name}' ({reader})" for name, reader in readers.items())
        raise ConfigError(
            f"{owner}: the options {named} are read by different strategies: choose one with "
            f"strategy, and leave out the other options."
        )
    elif readers:
        options[STRATEGY] = next(iter(readers.values()))
        _check_readers(owner, options[STRATEGY], readers, top_k)
    return {**defaults, **options}


def _check_readers(owner: str, strategy: str, readers: Mapping[str, str], top_k: int) -> None:
    """Each option is read by the strategy, or by the beam search that `top_k` asks for."""
    if strategy == NUCLEUS and top_k > 1:
        raise ConfigError(
            f"{owner}: strategy is nucleus, which draws one answer, but top_k is {top_k}: leave "
            f"out top_k, or the options of nucleus sampling."
        )
    reading = {strategy, BEAM} if strategy == GREEDY and top_k > 1 else {strategy}
    for name, reader in readers.items():
        if reader not in reading:
            raise ConfigError(
                f"{owner}: '{name}' is read by strategy={reader} only, but the strategy is "
                f"{strategy}: leave one of them out."
            )


def described(options: Mapping[str, Any]) -> str:
    """The options as one text for signatures: sorted, without blanks."""
    return ",".join(f"{name}={_plain(options[name])}" for name in sorted(options))


def _plain(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)
