"""What each head says, as tensors alone: class scores, or an answer written inside the graph.

A graph has no loop that stops early: a head that writes is unrolled, greedily, for as many tokens
as its longest answer has. Imports torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from vqazoo.decoding import START, State, Step
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features
from vqazoo.manifests import HeadManifest
from vqazoo.model import VQAModel
from vqazoo.registry import registry

LANGUAGE_MODEL = "language_model"


@dataclass(frozen=True)
class ExportedHead:
    """A head as a graph has it.

    Attributes:
        names: of the tensors that `outputs` returns, `scores` first.
        outputs: fused features of B rows -> tensors with B rows. `scores` are (B, K) of a head that
            chooses, (B,) of one that writes; `tokens` (B, T) int64 have the end token behind the
            answer; `types` (B, number of types) and `answerable` (B,) are probabilities.
        facts: what manifest.json says of the head: how the tensors become an answer.
    """

    names: tuple[str, ...]
    outputs: Callable[[Features], tuple[Tensor, ...]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Writer:
    """A head that writes, before its first token.

    Attributes:
        begin: fused features -> log-probabilities (B, V) of the first token, the state, and the
            step that goes on from both, as `vqazoo.decoding` has it.
        end: output number of the end token.
        longest: tokens of an answer, end included.
        ids: (V,) int64, the tokenizer's id of each output; None: they are the same.
        words: text of each output, of a head with words of its own.
    """

    begin: Callable[[Features], tuple[Tensor, State, Step]]
    end: int
    longest: int
    ids: Tensor | None = None
    words: Sequence[str] = ()


def exported_head(model: VQAModel) -> ExportedHead:
    """The head of a model as a function of tensors.

    Raises:
        ConfigError: the head cannot be exported.
    """
    name, head = model.config.head.type, cast(Any, model.head)
    manifest = cast(HeadManifest, registry.manifest("head", name))
    if LANGUAGE_MODEL in manifest.borrows:
        raise ConfigError(
            f"The head '{name}' cannot be exported: the language model that it borrows orders its "
            f"tokens by lengths that are known only when it runs; choose a model with another head."
        )
    if name in WRITERS:
        return _written(WRITERS[name](model, head))
    if manifest.answer_mode == "classify" and hasattr(head, "branches"):
        return _gated(model, head)
    if manifest.answer_mode == "classify" and hasattr(head, "logits"):
        return _chosen(model, head, manifest.independent_scores)
    raise ConfigError(
        f"The head '{name}' cannot be exported: it has no method logits(fused) that gives scores "
        f"(B, K), and of the heads that write only {', '.join(WRITERS)} are known here; choose a "
        f"model with another head."
    )


# ---- heads that choose ----------------------------------------------------------------------


def _chosen(model: VQAModel, head: Any, independent: bool) -> ExportedHead:
    """Softmax over the answers, or one sigmoid an answer where scores are independent."""

    def outputs(fused: Features) -> tuple[Tensor, ...]:
        logits = head.logits(fused)  # (B, K)
        return (logits.sigmoid() if independent else logits.softmax(dim=1),)

    return ExportedHead(
        ("scores",), outputs, {"kind": "choose", "answers": list(model.answers.texts)}
    )


def _gated(model: VQAModel, head: Any) -> ExportedHead:
    """The head `linear`: answers, types and answerability."""

    def outputs(fused: Features) -> tuple[Tensor, ...]:
        out = head.branches(fused)
        types, answerable = out.type.softmax(dim=1), out.answerable.sigmoid()  # (B, 7), (B,)
        return out.answer.softmax(dim=1), types, answerable

    types = list(sys.modules[type(head).__module__].TYPES)
    facts = {"kind": "choose", "answers": list(model.answers.texts), "types": types}
    return ExportedHead(("scores", "types", "answerable"), outputs, facts)


# ---- heads that write -----------------------------------------------------------------------


def _written(writer: Writer) -> ExportedHead:
    """Greedy search, unrolled; the score is the product of token probabilities, end included."""

    def outputs(fused: Features) -> tuple[Tensor, ...]:
        log_probs, state, step = writer.begin(fused)  # (B, V)
        total = log_probs.new_zeros(log_probs.shape[0])  # (B,)
        going = total == 0  # (B,) rows that have not written their end
        written: list[Tensor] = []
        for place in range(writer.longest):
            if place:
                log_probs, state = step(written[-1], state)  # (B, V)
            best, tokens = log_probs.max(dim=1)  # (B,) each
            total = torch.where(going, total + best, total)
            written.append(torch.where(going, tokens, writer.end))
            going = going & (tokens != writer.end)
        tokens = torch.stack(written, dim=1)  # (B, T)
        return total.exp(), tokens if writer.ids is None else writer.ids[tokens]

    end = writer.end if writer.ids is None else int(writer.ids[writer.end])
    loop = f"inside the graph, greedy, unrolled for {writer.longest} tokens with the end"
    facts = {"kind": "write", "loop": loop, "longest": writer.longest, "end": end}
    if writer.words:
        facts["words"] = list(writer.words)
    return ExportedHead(("scores", "tokens"), outputs, facts)


def _start(context: Tensor) -> Tensor:
    return torch.full_like(context[:, 0], START, dtype=torch.long)  # (B,)


def _lstm(model: VQAModel, head: Any) -> Writer:
    def begin(fused: Features) -> tuple[Tensor, State, Step]:
        context = head.context(fused)  # (B, E)
        zeros = context.new_zeros(context.shape[0], head.lstm.hidden_size)  # (B, hidden)
        return (*head.step(_start(context), (context, zeros, zeros)), head.step)

    end = head.token_ids.tolist().index(model.text_encoder.end_id)
    return Writer(begin, end, head.longest, ids=head.token_ids)


def _gru(model: VQAModel, head: Any) -> Writer:
    def begin(fused: Features) -> tuple[Tensor, State, Step]:
        context = head.project(fused.pooled)  # (B, D)
        return (*head.step(_start(context), (context, torch.zeros_like(context))), head.step)

    return Writer(begin, head.number["<eos>"], head.longest, words=head.words)


def _git(model: VQAModel, head: Any) -> Writer:
    def begin(fused: Features) -> tuple[Tensor, State, Step]:
        assert fused.mask is not None
        place = fused.mask[:, fused.num_prefix :].sum(dim=1)  # (B,)
        first, past = head.begin(fused)  # (B, V)
        return first, (place, fused.mask, *_flat(past)), head.step

    return Writer(begin, model.text_encoder.end_id, head.longest)


def _med(model: VQAModel, head: Any) -> Writer:
    def begin(fused: Features) -> tuple[Tensor, State, Step]:
        seen = head.look(fused)
        first, past = head.begin(seen)  # (B, V)

        def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            before = list(zip(state[::2], state[1::2], strict=True))
            states, now = head.read(tokens[:, None], seen, before)  # (B, 1, D)
            return head.logits(states[:, 0]).log_softmax(dim=1), _flat(now)  # (B, V)

        return first, _flat(past), step

    return Writer(begin, model.text_encoder.end_id, head.longest)


def _flat(past: Sequence[tuple[Tensor, Tensor]]) -> State:
    return tuple(part for pair in past for part in pair)


WRITERS: dict[str, Callable[[VQAModel, Any], Writer]] = {
    "lstm": _lstm,
    "gru": _gru,
    "git-decoder": _git,
    "med-decoder": _med,
}
