"""What scores say first: a headline, the few numbers that are defined here, and what to do next.

All numbers with their signatures stay in `metrics.json`. Imports only numpy, by way of the metrics.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from vqazoo.amounts import count, percent
from vqazoo.data import Example
from vqazoo.data.answers import truth_of
from vqazoo.evaluation.metric import Metric

MAIN = ("flaw-ap-mean", "vqa-accuracy", "accuracy")  # the first that was measured
FIRST = (
    *("vqa-accuracy", "accuracy", "choice-accuracy", "choice-chance-accuracy"),
    *("constant-answer-vqa-accuracy", "constant-answer-accuracy", "known-answer-share"),
    *("vizwiz-accuracy", "flaw-ap-mean", "flaw-f1-mean", "wups-0.9", "wups-0.0"),
)
IN_SENTENCES = ("squad-f1", "chrf")  # where most answers are of several words, as BLEU of most
BLEU = ("bleu-4", "bleu-3", "bleu-2")
LAST = (
    *("unanswerable-share", "answerability-f1", "calibration-error"),
    *("coverage-at-5-percent-risk", "validated-coverage-at-5-percent-risk"),
    *("answered-share", "answered-risk"),
)
WITHOUT_PICTURES = "question-only-"
LARGEST_PARTS = 6  # of one field, the largest first
WIDTH = 48  # letters of a name
MOST = 0.5  # share of answers of several words from which on they are compared word by word
FEW_KNOWN = 0.8  # share of questions whose answer is known, below which that is said first


@dataclass(frozen=True)
class SetBeside:
    """What a score is set beside, where it is known.

    Attributes:
        question_only: scores of the model trained without pictures, by the metric's name.
        published: what a recipe's source reports, by the metric's name: share and what it is of.
    """

    question_only: Mapping[str, float]
    published: Mapping[str, tuple[float, str]]


NOTHING_BESIDE = SetBeside({}, {})


def main_metric(metrics: Sequence[Metric]) -> Metric | None:
    """The number that a headline gives; None: none of them."""
    named = {metric.name: metric for metric in metrics}
    return next((named[name] for name in MAIN if name in named), None)


def first_lines(metrics: Sequence[Metric], beside: SetBeside = NOTHING_BESIDE) -> list[str]:
    """One or two lines: the score with its interval, and what to compare it with."""
    best = main_metric(metrics)
    if best is None:
        return []
    between = ""
    if best.interval:
        between = f" (95% interval {' to '.join(map(percent, best.interval))})"
    data = re.search(r"\|data:([^|]*)", best.signature)
    where = f"{data[1]}, {best.split}" if data else best.split
    lines = [
        f"{best.name} {percent(best.value)}{between} on {count(best.questions)} questions of "
        f"{where}."
    ]
    compared = []
    if constant := _constant(metrics, best):
        compared.append(f"always the most frequent answer {percent(constant.value)}")
    if best.name in beside.question_only:
        compared.append(f"the question alone {percent(beside.question_only[best.name])}")
    if best.name in beside.published:
        value, what = beside.published[best.name]
        compared.append(f"published {percent(value)} ({what})")
    if compared:
        lines.append(f"Beside it: {'; '.join(compared)}.")
    return lines


def next_step(metrics: Sequence[Metric]) -> str:
    """One sentence on what to do next; empty where no score was measured."""
    best = main_metric(metrics)
    if best is None:
        return ""
    constant = _constant(metrics, best)
    if constant is not None and best.value <= constant.value:
        return (
            "Next: it is no better than always the most frequent answer: train on more or for "
            "longer; 'vqazoo errors' shows what it says."
        )
    known = next((m for m in metrics if m.name == "known-answer-share"), None)
    if known is not None and known.value < FEW_KNOWN:
        return (
            f"Next: it never learnt the right answer of {percent(1 - known.value)} of the "
            f"questions: more data, or a head that writes."
        )
    return "Next: 'vqazoo errors' groups the mistakes; 'vqazoo compare' says if another is better."


def in_sentences(examples: Iterable[Example]) -> bool:
    """Whether people mostly answer with several words; questions without an answer do not count.

    Of answers that are mostly one word, numbers of words in common say nothing that the share of
    right answers does not, or repeat the few that are longer.
    """
    counts = Counter(len(truth.split()) > 1 for truth in map(truth_of, examples) if truth)
    return counts[True] > MOST * counts.total()


def short(metrics: Sequence[Metric], sentences: bool) -> list[Metric]:
    """The numbers that are defined for these answers and that say what others do not.

    Args:
        sentences: whether most answers are of several words, see `in_sentences`.
    """
    there = [metric for metric in metrics if metric.undefined is None]
    named = {metric.name: metric for metric in there}
    bleu = next((named[name] for name in BLEU if name in named), None)
    listed = [named[name] for name in FIRST if name in named]
    listed += [metric for metric in there if metric.better is not None]
    if sentences and bleu is not None:
        listed += [named[name] for name in IN_SENTENCES if name in named]
        listed.append(bleu)
    parts = [metric for metric in there if "/" in metric.name and "answer-count" not in metric.name]
    for _, members in groupby(parts, key=lambda metric: metric.name.partition("=")[0]):
        listed += sorted(members, key=lambda metric: -metric.questions)[:LARGEST_PARTS]
    return listed + [named[name] for name in LAST if name in named]


def row(metric: Metric) -> tuple[str, str, str, str]:
    """Name, value, interval and number of questions, in at most 100 letters."""
    name = metric.name if len(metric.name) <= WIDTH else metric.name[: WIDTH - 1] + "…"
    between = f"[{', '.join(map(percent, metric.interval))}]" if metric.interval else ""
    return name, value_of(metric), between, count(metric.questions)


def value_of(metric: Metric) -> str:
    """The value as people read it; one that is undefined is not a number."""
    return "undefined" if metric.undefined is not None else percent(metric.value)


def _constant(metrics: Sequence[Metric], best: Metric) -> Metric | None:
    wanted = f"constant-answer-{best.name}"
    return next((metric for metric in metrics if metric.name == wanted), None)
