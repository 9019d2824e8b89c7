"""Asking a model about a split, to group what it gets wrong. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vqazoo.data import Example
from vqazoo.evaluation import answer_parts
from vqazoo.evaluation.answer_file import Record
from vqazoo.evaluation.answer_parts import AnswerParts, Part
from vqazoo.evaluation.answering import Asking, answer_features, answer_split, source_of
from vqazoo.evaluation.mistakes.groups import Mistakes, group_mistakes
from vqazoo.evaluation.mistakes.similarity import cluster, picture_vectors
from vqazoo.evaluation.predicting import Request, answers_kept
from vqazoo.evaluation.row_answers import CACHED, LIVE, as_record
from vqazoo.evaluation.split import Questions, known_answers
from vqazoo.features.sources import FeatureSource, image_side
from vqazoo.interfaces import Answer
from vqazoo.keywords import names_keywords
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.progress import Progress, Report, unshown


class PageParts(AnswerParts):
    """Answers that are kept beside a page about mistakes until it is written."""

    def __init__(self, page: Path) -> None:
        self.out, self.folder = page, page.with_name(f"{page.name}.parts")


@names_keywords
def find_mistakes(
    model: VQAModel,
    questions: Questions,
    name: str,
    asking: Asking | None = None,
    answers: Sequence[Answer] | None = None,
    cache: str | Path = "",
    report: Report = print,
    progress: Progress = unshown,
    parts: PageParts | None = None,
) -> Mistakes:
    """The mistakes of a model on a split, grouped; pictures that look alike to it are one group,
    where its encoder gives features of pictures.

    Args:
        name: of the model, for the page; asking: how the questions are answered.
        answers: given ones, in place of asking the model again.
        cache: folder of cached features.
        parts: where answers are kept that a stopped run gave, and from now on; None: nowhere.

    Raises:
        ConfigError, CacheError, ImageError: as `answer_split`.
        DataError: no question has an answer, so nothing can be scored; or `parts` are of something
            else.
    """
    examples = questions.examples
    as_they_are = model.image_encoder.keeps_pictures
    with evaluating(model):
        images = image_side(model, examples, progress, cache, report)
        if answers is None:
            asking = asking or Asking()
            if parts is None:
                answers = answer_split(model, examples, asking, progress, cache, report, images)
            else:
                source = source_of(model, examples, asking, progress, cache, report, images)
                features = LIVE if as_they_are else CACHED
                request = Request(asking, questions.data, questions.split, {}, features)
                engine = _Answering(model, examples, asking, source)
                answers = answers_kept(parts, request.plan(model), examples, engine, report)
        looks = None
        if as_they_are:
            report(
                "Pictures that look alike are not grouped: the model has no features of pictures "
                "by themselves."
            )
        else:
            looks = cluster(picture_vectors(images, len(examples)), [e.image for e in examples])
    known = known_answers(model)
    return group_mistakes(examples, answers, name, questions.data, questions.split, known, looks)


class _Answering:
    """Answers parts in the batches of `answer_split`, so that they are the same bit for bit."""

    def __init__(
        self, model: VQAModel, examples: Sequence[Example], asking: Asking, source: FeatureSource
    ) -> None:
        self.model, self.examples, self.asking, self.source = model, examples, asking, source

    def __call__(
        self, parts: Iterator[Part], told: Callable[[int], None]
    ) -> Iterator[tuple[Part, list[Record]]]:
        for part in parts:
            start, count = part.number * answer_parts.PART_ROWS, len(part.rows)
            rows = self.examples[start : start + count]
            answers = answer_features(
                self.model,
                self.source,
                count,
                start,
                on_batch=told,
                asking=self.asking,
                examples=rows,
            )
            yield part, [as_record(e, a, "") for e, a in zip(rows, answers, strict=True)]
