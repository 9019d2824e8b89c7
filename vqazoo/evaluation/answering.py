"""Answering a whole split as it is asked for: by decode options, or out of candidates.

What `vqazoo eval`, `vqazoo errors` and `vqazoo recipe run` share. Imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vqazoo.calibration.abstaining import HoldBack
from vqazoo.data import Example
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.evaluation.tables import check_not_held_back, have_choices
from vqazoo.features.sources import (
    FeatureSource,
    LiveQuestions,
    PairedFeatures,
    Side,
    image_side,
    question_side,
)
from vqazoo.interfaces import Answer, Features
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.progress import Progress, Report, unshown
from vqazoo.toolkit.constraints import Rules
from vqazoo.toolkit.decode_options import GREEDY, STRATEGY, described

PREDICT_BATCH = 512
PICTURES_BATCH = 16  # where features are as large as pictures
RULES = frozenset(rule.name for rule in fields(Rules))


@dataclass(frozen=True)
class Asking:
    """How questions are answered.

    Attributes:
        decode: options as `VQAModel.answer` takes them.
        candidates: the answers to choose from; None: the model writes or picks its own.
        calibrated, abstain_at_risk, top_k: as `VQAModel.answer` takes them; with choices of the
            question or candidates, only the best is given.
    """

    decode: Mapping[str, Any] = field(default_factory=dict)
    candidates: Sequence[str] | None = None
    calibrated: bool = True
    abstain_at_risk: float | None = None
    top_k: int = 1

    def check(self, model: VQAModel) -> None:
        """Raise ConfigError where the model cannot be asked so, before the work is done."""
        model.decode_options(self.decode, self.top_k)
        if self.candidates is not None:
            model.ranks(self.candidates)
            if self.decode:
                raise ConfigError(
                    "Decode options are for answers that are written, but candidates to choose "
                    "from are given too: leave out one of them."
                )
            if self.abstain_at_risk is not None:
                raise ConfigError(
                    "abstain_at_risk is for answers of the model's own, but candidates to choose "
                    "from are given too: leave out one of them."
                )
        self.hold_back(model)

    def ways(
        self, model: VQAModel, plain: list[float] | None = None
    ) -> Callable[[Features], list[list[Answer]]]:
        """The `top_k` best answers to each row of fused features, asked so; none is held back.

        Where answers are flaws of pictures, several of which may hold, all of them.

        Args:
            plain: gets the head's own scores, where answers are not chosen among candidates.

        Raises:
            ConfigError: the model cannot be asked so.
        """
        if self.candidates is not None:
            return model.ranks(self.candidates, self.calibrated)
        options = model.decode_options(self.decode, self.top_k)
        top_k = len(model.answers) if model.head_manifest.flaws else self.top_k
        calibrated = self.calibrated
        return partial(model.answers_of, top_k=top_k, calibrated=calibrated, plain=plain, **options)

    def best(
        self, model: VQAModel, plain: list[float] | None = None
    ) -> Callable[[Features, Sequence[Example]], list[Answer]]:
        """The answers to rows of fused features, asked so: to questions that give choices out of
        these, unless there are candidates or decode options.

        Args:
            plain: as of `ways`.

        Raises:
            ConfigError: the model cannot be asked so.
        """
        answering, hold_back = self.ways(model, plain), self.hold_back(model)

        def answers(fused: Features, examples: Sequence[Example]) -> list[Answer]:
            if self.chooses(examples):
                check_not_held_back(self.abstain_at_risk)
                return model.answers_to(fused, examples, answering, self.calibrated)
            return [
                hold_back(replace(first, alternatives=tuple(others)) if others else first)
                for first, *others in answering(fused)
            ]

        return answers

    def chooses(self, examples: Sequence[Example]) -> bool:
        """Whether answers are chosen among those that the questions give."""
        return self.candidates is None and not self.decode and have_choices(examples)

    def hold_back(self, model: VQAModel) -> HoldBack:
        """What holds back answers that are not sure enough.

        Raises:
            ConfigError: the model has no threshold for that.
        """
        return model.holds_back(self.abstain_at_risk, self.calibrated, self.decode)

    def confidence(self, model: VQAModel) -> str:
        """What the scores of answers are, for signatures."""
        calibrated = self.calibrated and model.calibration is not None
        return "calibrated answer score" if calibrated else "answer score"

    def signature(self, model: VQAModel, examples: Sequence[Example] = ()) -> str:
        """What differs from the defaults of the model's head; empty: nothing."""
        if self.chooses(examples):
            return "choices of each question"
        if self.candidates is not None:
            content = hashlib.sha256("\n".join(self.candidates).encode()).hexdigest()
            return f"rank of {len(self.candidates)} candidates,sha256={content[:8]}"
        manifest = model.head_manifest
        options = model.decode_options(self.decode)
        strategy = options.get(STRATEGY, GREEDY)
        differing = {
            name: value
            for name, value in options.items()
            if manifest.decode[name].strategy in ("", strategy)
            and (name in self.decode or value != manifest.decode[name].default)
        }
        return described(differing)


def answer_split(
    model: VQAModel,
    examples: Sequence[Example],
    asking: Asking,
    progress: Progress,
    cache: str | Path,
    report: Report,
    images: Side | None = None,
    plain: list[float] | None = None,
) -> list[Answer]:
    """The best answer to each example.

    Args:
        plain: gets the head's own scores, see `Asking.ways`.
        cache: folder of cached features; images: those of the pictures, if they are there.

    Raises:
        ConfigError: the options are not understood, or the model reads no questions.
        CacheError, ImageError: features or pictures cannot be had.
    """
    with evaluating(model):  # what is encoded, too
        source = source_of(model, examples, asking, progress, cache, report, images)
        count = len(examples)
        return answer_features(
            model,
            source,
            count,
            asking=asking,
            plain=plain,
            examples=examples,
            progress=progress,
        )


def source_of(
    model: VQAModel,
    examples: Sequence[Example],
    asking: Asking,
    progress: Progress,
    cache: str | Path,
    report: Report,
    images: Side | None = None,
) -> FeatureSource:
    """The features of pictures and questions as they are asked; all as for `answer_split`.

    Raises:
        As `answer_split`.
    """
    if any(example.question for example in examples):
        model.check_reads_questions()
    asking.check(model)
    options = model.decode_options(asking.decode)
    rules = {name: value for name, value in options.items() if name in RULES}
    if images is None:
        images = image_side(model, examples, progress, cache, report)
    questions: Side
    if asking.candidates is None and Rules(**rules).counts_said:
        questions = LiveQuestions(model, examples)  # the cache does not hold their tokens
    else:
        questions = question_side(model, examples, progress, cache, report)
    return PairedFeatures(images, questions)


def answer_features(
    model: VQAModel,
    source: FeatureSource,
    count: int,
    start: int = 0,
    on_batch: Callable[[int], None] | None = None,
    candidates: Sequence[str] | None = None,
    asking: Asking | None = None,
    plain: list[float] | None = None,
    examples: Sequence[Example] = (),
    progress: Progress = unshown,
    **decode: Any,
) -> list[Answer]:
    """The best answer for the rows `start` to `start + count` of a feature source; where answers
    are flaws of pictures, with all others as alternatives.

    Args:
        plain: gets the head's own scores, see `Asking.ways`.
        asking: how they are answered; None: by the candidates and decode options that are given.
        examples: the questions of those rows, where they may give choices.
        on_batch: receives how many more were answered; progress: shows the batches.

    Raises:
        ConfigError: an option is not understood; there are candidates, but the head does not rank.
        QuestionError: the model cannot read a question, as one that is too long for it.
    """
    answers: list[Answer] = []
    asking = asking or Asking(decode, candidates)
    best = asking.best(model, plain)
    with evaluating(model), torch.inference_mode():
        size = PICTURES_BATCH if model.image_encoder.keeps_pictures else PREDICT_BATCH
        for first in progress(range(start, start + count, size), "batches of answers"):
            rows = torch.arange(first, min(first + size, start + count))  # (B,)
            fused = model.fusion(*source.batch(rows))
            asked = examples[first - start : first - start + len(rows)]
            try:
                answers += best(fused, asked)
            except QuestionError as error:
                raise _of_its_row(error, best, fused, asked) from error
            if on_batch:
                on_batch(len(rows))
    return answers


def _of_its_row(
    error: QuestionError,
    best: Callable[[Features, Sequence[Example]], list[Answer]],
    fused: Features,
    examples: Sequence[Example],
) -> QuestionError:
    """The error of a batch with the question that cannot be read, where one alone cannot."""
    device = next(iter(fused.tensors().values())).device
    for row, example in enumerate(examples):
        try:
            best(fused.index(torch.tensor([row], device=device)), [example])
        except QuestionError as alone:
            shown = example.question[:40]
            return QuestionError(f"Question {example.question_id!r} ({shown!r}): {alone}")
    return error
