"""Asking a model about a split, to group what it gets wrong. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqazoo.evaluation.answering import Asking, answer_split
from vqazoo.evaluation.mistakes.groups import Mistakes, group_mistakes
from vqazoo.evaluation.mistakes.similarity import cluster, picture_vectors
from vqazoo.evaluation.split import Questions, known_answers
from vqazoo.features.sources import CachedImages
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.progress import Progress, Report


def find_mistakes(
    model: VQAModel,
    questions: Questions,
    name: str,
    asking: Asking | None = None,
    answers: Sequence[Answer] | None = None,
    cache: str | Path = "",
    report: Report = print,
    progress: Progress = lambda steps, _: iter(steps),
) -> Mistakes:
    """The mistakes of a model on a split, grouped; pictures that look alike to it are one group.

    Args:
        name: of the model, for the page; asking: how the questions are answered.
        answers: given ones, in place of asking the model again.
        cache: folder of cached features.

    Raises:
        ConfigError, CacheError, ImageError: as `answer_split`.
        DataError: no question has an answer, so nothing can be scored.
    """
    examples = questions.examples
    with evaluating(model):
        images = CachedImages(model, examples, progress, cache, report)
        if answers is None:
            asking = asking or Asking()
            answers = answer_split(model, examples, asking, progress, cache, report, images)
        looks = cluster(picture_vectors(images, len(examples)), [e.image for e in examples])
    known = known_answers(model)
    return group_mistakes(examples, answers, name, questions.data, questions.split, known, looks)
