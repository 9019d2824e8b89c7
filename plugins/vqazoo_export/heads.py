"""What each head says, as tensors alone: class scores, or an answer written inside the graph.

A graph has no loop that stops early: a head that writes is unrolled, greedily, for as many tokens
as its longest answer has. Imports torch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from vqazoo.calibration import Calibration
from vqazoo.calibration.scores import BEHIND
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.interfaces import (
    Features,
    GivesAnswerability,
    GivesLogits,
    GivesTypes,
    LimitsAnswers,
    Writes,
)
from vqazoo.model import VQAModel
from vqazoo.toolkit.constraints import Rules
from vqazoo.toolkit.decode_options import GREEDY, STRATEGY

LANGUAGE_MODEL = "language_model"
NEAR_ONE = 1 - 2.0**-22  # of scores in float32, whose logit is to be finite
RULES = frozenset(field.name for field in fields(Rules))
PROTOCOLS = {
    "classify": "a method logits(fused) for scores (B, K), see vqazoo.interfaces.GivesLogits",
    "generate": "the methods begin_answer(fused) and spelling(), see vqazoo.interfaces.Writes",
}


@dataclass(frozen=True)
class ExportedHead:
    """A head as a graph has it.

    Attributes:
        names: of the tensors that `outputs` returns, `scores` first.
        outputs: fused features of B rows -> tensors with B rows. `scores` are (B, K) of a head that
            chooses, (B,) of one that writes; `tokens` (B, T) int64 have the end token behind the
            answer; `types` (B, number of types) and `answerable` (B,), where there are any, are
            probabilities.
        facts: what manifest.json says of the head: how the tensors become an answer.
    """

    names: tuple[str, ...]
    outputs: Callable[[Features], tuple[Tensor, ...]]
    facts: dict[str, Any]


def exported_head(model: VQAModel) -> ExportedHead:
    """The head of a model as a function of tensors; what it offers decides, never its name.

    Raises:
        ConfigError: the head cannot be exported.
    """
    name, head = model.config.head.type, model.head
    manifest = model.head_manifest
    if LANGUAGE_MODEL in manifest.borrows:
        raise ConfigError(
            f"The head '{name}' cannot be exported: the language model that it borrows orders its "
            f"tokens by lengths that are known only when it runs; choose a model with another head."
        )
    if manifest.reads_ocr:
        raise ConfigError(
            f"The head '{name}' cannot be exported: it copies words out of the picture, which are "
            f"texts that no graph holds; choose a model with another head."
        )
    if manifest.answer_mode == "classify" and isinstance(head, GivesLogits):
        return _chosen(model, head, manifest.independent_scores)
    if manifest.answer_mode == "generate" and isinstance(head, Writes):
        written = _written(head, _longest(model, head), model.calibration or Calibration())
        return replace(written, facts=written.facts | _respelled(model))
    raise ConfigError(
        f"The head '{name}' cannot be exported: it lacks {PROTOCOLS[manifest.answer_mode]}; add "
        f"that to the head, or choose a model with another one."
    )


@torch.no_grad()
def longest_question(model: VQAModel, head: ExportedHead) -> int:
    """Most tokens of a question beside which the head's longest answer has places, as `answer`
    refuses others. The model is in eval mode."""
    encoder, writer = model.text_encoder, model.head
    context = encoder.spec.context_length
    if not isinstance(writer, LimitsAnswers) or "longest" not in head.facts:
        return context
    pixels = torch.zeros(1, 3, *model.image_encoder.spec.preprocess.size)
    image = model.image_encoder.encode_image(pixels, model.wants_image)

    def is_too_long(count: int) -> bool:
        ids = torch.full((1, count), encoder.end_id)
        question = encoder.encode_text(
            ids, torch.ones_like(ids, dtype=torch.bool), model.wants_text
        )
        try:
            writer.check_room(model.fusion(image, question), head.facts["longest"])
        except QuestionError:
            return True
        return False

    return bisect_left(range(1, context + 1), True, key=is_too_long)


def _chosen(model: VQAModel, head: GivesLogits, independent: bool) -> ExportedHead:
    """Softmax over the answers, or one sigmoid an answer where scores are independent; then types
    and answerability, where the head gives them."""
    facts: dict[str, Any] = {"kind": "choose", "answers": list(model.answers.texts)}
    said = model.calibration or Calibration()
    types = head if isinstance(head, GivesTypes) else None
    answerable = head if isinstance(head, GivesAnswerability) else None
    if types is not None:
        facts["types"] = list(types.type_names())
    of_types = torch.tensor([said.temperature(name) for name in facts.get("types", ())])

    def outputs(fused: Features) -> tuple[Tensor, ...]:
        logits = head.logits(fused)  # (B, K)
        others: list[Tensor] = []
        temperatures: Tensor | None = None  # (B, 1)
        if types is not None:
            kinds = types.type_logits(fused).softmax(dim=1)  # (B, number of types)
            others.append(kinds)
            if said.types:
                temperatures = of_types.to(logits)[kinds.argmax(dim=1)][:, None]
        if answerable is not None:
            chance = answerable.answerable_logits(fused)  # (B,)
            chance = chance if said.answerable == 1 else chance / said.answerable
            others.append(chance.sigmoid())
        if temperatures is not None:
            logits = logits / temperatures
        elif said.answers != 1:
            logits = logits / said.answers
        scores = logits.sigmoid() if independent else logits.softmax(dim=1)
        if said.curve:
            scores = _on_curve(scores, said) if independent else _best_on_curve(scores, said)
        return scores, *others

    offered = {"scores": head, "types": types, "answerable": answerable}
    names = tuple(name for name, offers in offered.items() if offers is not None)
    return ExportedHead(names, outputs, facts)


def _on_curve(scores: Tensor, said: Calibration) -> Tensor:
    """Scores of any shape on the lines between the knots of a calibration."""
    total = torch.full_like(scores, said.curve[0][1])
    for (x0, y0), (x1, y1) in pairwise(said.curve):
        along = (scores - x0).relu() - (scores - x1).relu()
        total = total + along * ((y1 - y0) / (x1 - x0))
    return total


def _best_on_curve(scores: Tensor, said: Calibration) -> Tensor:
    """Of (B, K) softmax scores the best on the curve; the others share what is left."""
    before = scores.amax(dim=1, keepdim=True)  # (B, 1)
    best = _on_curve(before, said)
    left = (1 - best) / (1 - before * NEAR_ONE)
    return torch.where(
        scores >= before * NEAR_ONE, best, torch.minimum(BEHIND * best, scores * left)
    )


def _longest(model: VQAModel, head: Writes) -> int:
    """Tokens of an answer at most, as this model decodes.

    Raises:
        ConfigError: the model's own decode options ask for more than greedy search.
    """
    options = model.decode_options({})
    asked = {name: value for name, value in options.items() if name in RULES}
    rules = sorted(name for name, value in asked.items() if value != getattr(Rules(), name))
    if options.get(STRATEGY, GREEDY) != GREEDY:
        rules.insert(0, f"{STRATEGY}={options[STRATEGY]}")
    if rules:
        raise ConfigError(
            f"The model decodes by {', '.join(rules)} (decode in its config.json), but a graph is "
            f"unrolled greedily and would answer otherwise: set model.config.decode to what "
            f"greedy search reads, or serve the model instead."
        )
    return options.get("max_tokens") or head.spelling().longest


def _respelled(model: VQAModel) -> dict[str, Any]:
    """Known answers that the tokenizer gives back otherwise, by what it gives back."""
    return {"respelled": model.respelled} if model.respelled else {}


def _written(head: Writes, longest: int, said: Calibration) -> ExportedHead:
    """Greedy search, unrolled; the score is the product of token probabilities, end included, made
    a probability of being right where the model is calibrated."""
    end, _, vocabulary = head.spelling()
    ids = vocabulary if isinstance(vocabulary, Tensor) else None

    def outputs(fused: Features) -> tuple[Tensor, ...]:
        scores, state, step = head.begin_answer(fused)  # (B, V)
        total = scores.new_zeros(scores.shape[0])  # (B,)
        going = total == 0  # (B,) rows that have not written their end
        written: list[Tensor] = []
        for place in range(longest):
            if place:
                scores, state = step(written[-1], state)  # (B, V)
            best, tokens = scores.log_softmax(dim=1).max(dim=1)  # (B,) each
            total = torch.where(going, total + best, total)
            written.append(torch.where(going, tokens, end))
            going = going & (tokens != end)
        tokens = torch.stack(written, dim=1)  # (B, T)
        scores = total.exp()
        if said.answers != 1:
            odds = total - torch.log1p(-scores * NEAR_ONE)
            scores = (odds / said.answers).sigmoid()
        if said.curve:
            scores = _on_curve(scores, said)
        return scores, tokens if ids is None else ids[tokens]

    loop = f"inside the graph, greedy, unrolled for {longest} tokens with the end"
    last = end if ids is None else int(ids[end])
    facts = {"kind": "write", "loop": loop, "longest": longest, "end": last}
    if vocabulary is not None and ids is None:
        facts["words"] = list(vocabulary)
    return ExportedHead(("scores", "tokens"), outputs, facts)
