"""Log-scores of given options, by whatever a head offers. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import cast

import torch

from vqazoo.answering import AnsweringModel
from vqazoo.choosing.nearest import NearestAnswers
from vqazoo.data.answers import AnswerList, normalise
from vqazoo.data.comparison import TEXT, Comparison
from vqazoo.decisions import YES_AND_NO
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features, GivesLogits, NamesClasses, RanksAnswers, Writes
from vqazoo.toolkit.scoring import UNSCORED, class_places, class_scores, spelled, written_scores

UNSCORED_WAY, NEAREST_WAY = UNKNOWN_WAYS = ("unscored", "nearest")  # of options that are not known
LEAST_PROBABILITY = 1e-300  # of probabilities whose logarithm is taken

Options = Sequence[Sequence[str]]  # of each of B rows


@dataclass(frozen=True)
class Scoring:
    """Log-scores of each row's options; UNSCORED where the head does not know one.

    Attributes:
        scores: takes fused features and the options of each row.
        knows: whether the head knows an option.
        by_class: whether it chooses by classes.
        nearest: whether unknown options get the score of the nearest known one.
    """

    scores: Callable[[Features, Options], list[list[float]]]
    knows: Callable[[str], bool]
    by_class: bool = False
    nearest: bool = False

    @cached_property
    def yes_and_no(self) -> tuple[str, str]:
        """The words for yes and no that the head knows."""
        return next((pair for pair in YES_AND_NO if all(map(self.knows, pair))), YES_AND_NO[0])

    @property
    def advice(self) -> str:
        """What to do about options that are not known."""
        nearest = f", or ask with --{NEAREST_WAY}"
        ask = nearest if self.by_class and not self.nearest else ""
        return f"name answers that it knows (its answers.json lists them){ask}"

    def __call__(self, fused: Features, options: Options) -> list[list[float]]:
        return self.scores(fused, options)


def rows_of(fused: Features, rows: Sequence[int]) -> Features:
    """The given rows of fused features."""
    device = next(iter(fused.tensors().values())).device
    return fused.index(torch.tensor(rows, dtype=torch.long, device=device))


def chooses(model: AnsweringModel) -> bool:
    """Whether the head of a model chooses among given answers."""
    return _way(model) is not None


def scoring_of(model: AnsweringModel, unknown: str, comparison: Comparison = TEXT) -> Scoring:
    """How a model scores given options.

    Args:
        unknown: one of UNKNOWN_WAYS; comparison: which known answer an option is.

    Raises:
        ConfigError: the head does not choose, or `unknown` is not understood.
    """
    check_unknown(unknown)
    way, head = _way(model), model.head
    if way == "classes":
        return _scoring_of_classes(model, unknown, comparison)
    written = partial(as_learnt, model)
    if way == "tokens":
        writer, encoder = cast(Writes, head), model.text_encoder
        return Scoring(
            lambda fused, options: written_scores(
                writer, encoder, fused, [written(row) for row in options]
            ),
            lambda option: bool(spelled(writer.spelling(), encoder, written([option]))[0]),
        )
    if way == "ranks":
        ranker = cast(RanksAnswers, head)
        return Scoring(
            lambda fused, options: _scores_by_rank(
                ranker, fused, [written(row) for row in options]
            ),
            lambda option: True,
        )
    raise ConfigError(
        f"The head '{model.config.head.type}' does not choose among given answers: use one that "
        f"shows its scores (GivesLogits, Writes or RanksAnswers of vqazoo.interfaces)."
    )


def as_learnt(model: AnsweringModel, options: Sequence[str]) -> list[str]:
    """The options as a head writes them: without blanks around or doubled; one that is an answer of
    the model's training, but for case, blanks and full stops, as it was learnt.

    To a head that spells texts token by token `red ` and `red.` are others than `red`.
    """
    learnt = [normalise(option) for option in options]
    known = _known(model.answers)
    pairs = zip(options, learnt, strict=True)
    return [text if text in known else " ".join(option.split()) for option, text in pairs]


@lru_cache(maxsize=8)
def _known(answers: AnswerList) -> frozenset[str]:
    return frozenset(answers.texts)


def check_unknown(unknown: str) -> None:
    """Raises ConfigError: it is none of UNKNOWN_WAYS."""
    if unknown not in UNKNOWN_WAYS:
        raise ConfigError(
            f"unknown is {unknown!r}, but it must be one of {', '.join(UNKNOWN_WAYS)}."
        )


def _way(model: AnsweringModel) -> str | None:
    """What of its head a model chooses by."""
    if model.head_manifest.answer_mode == "generate" and isinstance(model.head, Writes):
        return "tokens"
    if isinstance(model.head, RanksAnswers):
        return "ranks"
    classifies = model.head_manifest.answer_mode == "classify"
    return "classes" if classifies and isinstance(model.head, GivesLogits) else None


def _scoring_of_classes(model: AnsweringModel, unknown: str, comparison: Comparison) -> Scoring:
    head = cast(GivesLogits, model.head)
    texts = head.class_texts() if isinstance(head, NamesClasses) else model.answers.texts
    places = class_places(texts, comparison.read)
    nearest = NearestAnswers(model, texts, places) if unknown == NEAREST_WAY else None

    def scores_of(fused: Features, options: Options) -> list[list[float]]:
        logits = head.logits(fused).float().cpu()  # (B, K)
        rows = [
            class_scores(row, places, row_options, comparison.read)
            for row, row_options in zip(logits, options, strict=True)
        ]
        return nearest.filled(rows, logits, options) if nearest else rows

    return Scoring(
        scores_of,
        lambda option: normalise(comparison.read(option)) in places,
        by_class=True,
        nearest=nearest is not None,
    )


def _scores_by_rank(head: RanksAnswers, fused: Features, options: Options) -> list[list[float]]:
    """Logarithms of the scores that a head gives the options of each row; rows with the same
    options together."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for row, row_options in enumerate(options):
        alike.setdefault(tuple(row_options), []).append(row)
    scores: list[list[float]] = [[] for _ in options]
    for texts, rows in alike.items():
        part = rows_of(fused, rows)
        distinct = list(dict.fromkeys(texts))
        for row, ranked in zip(rows, head.rank(part, distinct, len(distinct)), strict=True):
            by_text = {answer.text: answer.score for answer in ranked}
            scores[row] = [
                math.log(max(by_text[text], LEAST_PROBABILITY)) if text in by_text else UNSCORED
                for text in texts
            ]
    return scores
