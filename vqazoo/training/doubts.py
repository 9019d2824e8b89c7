"""What makes the result of a run doubtful, each in a sentence. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from vqazoo.config import TrainingConfig

FEW_STEPS = 100  # of the optimiser, in the whole run
FEW_QUESTIONS = 50  # of validation: one of them is 2 points
FEW_PICTURES = 20  # of validation: questions about one are alike
EXPLAINED = "the question alone explains the score"
APART = 0.2  # by which a score on training questions is above that on validation's


def doubts_of_plan(
    training: TrainingConfig,
    rows: int,
    validation: int,
    pictures: int,
    planned: Sequence[tuple[int, int]],
) -> Iterator[str]:
    """Doubts before a run begins.

    Args:
        rows, validation: how many questions are learnt from, and validated on; pictures: how many
            the latter are about.
        planned: epochs and batch size of each stage.
    """
    steps = sum(
        epochs * math.ceil(math.ceil(rows / batch) / training.accumulate)
        for epochs, batch in planned
    )
    if steps < FEW_STEPS:
        yield (
            f"the whole run is {steps:,} steps, which is little to learn from: give a smaller "
            f"training.batch_size or more training.epochs, or none of them, and both follow the "
            f"number of rows."
        )
    if validation < FEW_QUESTIONS or pictures < FEW_PICTURES:
        yield (
            f"the best epoch is chosen by {validation:,} questions of validation, of which one is "
            f"{100 / validation:.1f} points, about {pictures:,} picture{'s' * (pictures != 1)}: "
            f"give more (data.validation_fraction, or data.validation_split), and do not take the "
            f"validation score for the model's."
        )


def doubts_of_answers(
    predicted: Sequence[str], gold: Sequence[str], scores: Mapping[str, float | None]
) -> Iterator[str]:
    """Doubts about the best model, from its answers to the questions of validation.

    Args:
        predicted, gold: an answer each.
        scores: values of metrics by their names.
    """
    if len(set(predicted)) == 1 and len(set(gold)) > 1:
        yield (
            f"the best model answers {predicted[0]!r} to all {len(predicted):,} questions of "
            f"validation: it has learnt nothing but that; train for more steps, or at another "
            f"training.learning_rate."
        )
        return
    for name in ("vqa-accuracy", "accuracy"):
        score, constant = scores.get(name), scores.get(f"constant-answer-{name}")
        if score is not None and constant is not None:
            if score <= constant:
                yield (
                    f"the best model's {name} on validation is {score:.2%}, and always giving the "
                    f"most frequent training answer scores {constant:.2%}: it is of no use yet; "
                    f"train for more steps, or look at the data with  vqazoo data info."
                )
            return


def doubts_of_pictures(name: str, value: float, low: float, alone: float) -> Iterator[str]:
    """Doubts whether the best model needs the pictures of validation.

    Args:
        name: of the metric; value, low: of the model, and the lower end of its 95% interval.
        alone: of the answers that the most similar training questions have.
    """
    if alone >= low:
        yield (
            f"{EXPLAINED}: the answers of the most similar training questions, without a picture, "
            f"score {alone:.2%} on validation, and the best model's {name} is {value:.2%} (95% "
            f"interval from {low:.2%}); 'vqazoo eval --checks' shows what it rests on, and 'vqazoo "
            f"suggest' tries other parts."
        )


def doubts_of_fit(name: str, learnt: float, rows: int, value: float, high: float) -> Iterator[str]:
    """Doubts about the best model, from questions that it has learnt.

    Args:
        name: of the metric; learnt: its value on `rows` training questions.
        value, high: its value on validation, and the upper end of its 95% interval.
    """
    if learnt - value > APART and learnt > high:
        yield (
            f"the best model's {name} is {learnt:.2%} on {rows:,} of its training questions and "
            f"{value:.2%} on those of validation: it knows much by heart; more pictures help most."
        )
