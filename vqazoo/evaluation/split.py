"""Answering whole splits, and scores that say how they were made. Imports torch."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vqazoo.data import Example, digest
from vqazoo.data.answers import NORMALISER, SELECTION, AnswerList, same_answer, truth_of
from vqazoo.data.comparison import TEXT, Comparison
from vqazoo.errors import DataError
from vqazoo.evaluation.metrics import reliability, vqa_accuracy, words
from vqazoo.evaluation.metrics import wups as wups_metric
from vqazoo.evaluation.metrics.significance import bootstrap_interval, drawn, smallest_difference
from vqazoo.features.sources import FeatureSource
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo.registry import registry
from vqazoo.toolkit.evaluating import evaluating

PREDICT_BATCH = 512
SEVERAL = 3  # answers a question from which on agreement with people is measured
SINGLE = f"rule:{SELECTION}|normaliser:{NORMALISER}"
PEOPLE = "rule:leave-one-out-by-index"
WUPS_THRESHOLDS = ("0.0", "0.9")
COUNT_GROUPS = {0: "0", 1: "1-9", 10: "10-99", 100: "100-999", 1000: "1000+"}  # from this count on

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One number with everything needed to compare it.

    Attributes:
        name: what was measured; a part of the questions is named after a slash, as in
            `vqa-accuracy/answer-type=number`.
        value: in [0, 1] (effective reliability may be below).
        questions: how many were scored, none left out.
        signature: metric, version, answer rule, normaliser, data set, split, count.
        data_sha256: digest of the scored examples; date: UTC day of measuring.
        interval: 95% bootstrap interval of the value, where there is one; interval_method: what
            was drawn for it.
        smallest_difference: that the set can show between two models that err independently of
            each other; models that share mistakes differ detectably by less (`vqazoo compare`).
    """

    name: str
    value: float
    split: str
    questions: int
    signature: str
    data_sha256: str
    date: str
    interval: tuple[float, float] | None = None
    interval_method: str | None = None
    smallest_difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def predict(
    model: VQAModel,
    source: FeatureSource,
    count: int,
    start: int = 0,
    on_batch: Callable[[int], None] | None = None,
    candidates: Sequence[str] | None = None,
    **decode: Any,
) -> list[Answer]:
    """The best answer for the rows `start` to `start + count` of a feature source.

    Args:
        candidates: the answers to choose from, in place of writing or picking one.
        decode: options of the head, as `VQAModel.answer` takes them.

    Raises:
        ConfigError: an option is not understood; there are candidates, but the head does not rank.
    """
    answers: list[Answer] = []
    options = model.decode_options(decode)
    answering = model.ranks(candidates) if candidates is not None else model.head.predict
    with evaluating(model), torch.inference_mode():
        for first in range(start, start + count, PREDICT_BATCH):
            rows = torch.arange(first, min(first + PREDICT_BATCH, start + count))  # (B,)
            fused = model.fusion(*source.batch(rows))
            ranked = answering(fused) if candidates is not None else answering(fused, **options)
            answers += [row[0] for row in ranked]
            if on_batch:
                on_batch(len(rows))
    return answers


def is_correct(example: Example, answer: Answer) -> bool:
    """Whether the answer is the selected one of the example, by the rule of its dataset."""
    return same_answer(example, answer.text)


def accuracies(examples: Sequence[Example], answers: Sequence[Answer]) -> Floats:
    """1 or 0 for each question; an answer the model cannot give counts as a miss."""
    pairs = zip(examples, answers, strict=True)
    return np.array([is_correct(example, answer) for example, answer in pairs], dtype=np.float64)


def vqa_accuracies(examples: Sequence[Example], answers: Sequence[Answer]) -> Floats:
    """VQA accuracy of each question, as the reference code normalises."""
    pairs = zip(examples, answers, strict=True)
    return np.array([vqa_accuracy.accuracy(*compared(e, answer)) for e, answer in pairs])


def compared(example: Example, answer: Answer) -> tuple[str, list[str]]:
    """The answer and those of people as the dataset's rule reads them."""
    read = example.comparison.read
    return read(answer.text), [read(one) for one in example.answers]


def comparison_of(examples: Sequence[Example]) -> Comparison:
    """The rule by which answers of the examples, of one dataset, are compared."""
    return examples[0].comparison if examples else TEXT


def have_several_answers(examples: Sequence[Example]) -> bool:
    """Whether most questions have enough answers to measure agreement with people."""
    return 2 * len(asked_several(examples)) >= len(examples) > 0


def asked_several(examples: Sequence[Example]) -> list[int]:
    """The rows on which agreement with people can be measured: those with enough answers."""
    return [row for row, example in enumerate(examples) if len(example.answers) >= SEVERAL]


def measured(
    examples: Sequence[Example], answers: Sequence[Answer]
) -> tuple[str, list[int], Floats]:
    """The main measure of a set, the rows on which it is measured, and their scores.

    It is `vqa-accuracy` where most questions have answers of three people or more, on those; else
    `accuracy`, on all.
    """
    if not have_several_answers(examples):
        return "accuracy", list(range(len(examples))), accuracies(examples, answers)
    rows = asked_several(examples)
    kept = [examples[row] for row in rows]
    return "vqa-accuracy", rows, vqa_accuracies(kept, [answers[row] for row in rows])


def quick_metrics(
    examples: Sequence[Example], answers: Sequence[Answer], data: str, split: str, known: AnswerList
) -> list[Metric]:
    """What the training loop measures after each epoch: accuracy and what to compare it with."""
    measure = _Measure(data, split, digest(examples), _today(), examples)
    truths = [truth_of(example) for example in examples]
    right = float(accuracies(examples, answers).mean())
    found = list(measure.one("accuracy", right, SINGLE))
    name, rows, agreed = measured(examples, answers)
    if name == "vqa-accuracy":
        how = f"{PEOPLE}|normaliser:vqa-reference-v1"
        found += measure.one("vqa-accuracy", float(agreed.mean()), how, len(rows))
    return [*found, *_baselines(measure, examples, truths, known)]


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def score(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    data: str,
    split: str,
    known: AnswerList | None = None,
    wups: bool | None = None,
    report: Callable[[str], None] = lambda line: None,
    decode: str = "",
) -> list[Metric]:
    """Every metric that the examples and answers allow.

    Args:
        decode: how the answers were made, for signatures; empty: by the head's defaults.
        known: the answers a model can give, for its baselines; None for answers of others.
        wups: whether to compute WUPS; None: where the dataset's manifest asks for it and WordNet
            is there; that it is not is reported.

    Raises:
        DataError: no example has an answer, so nothing can be scored; WUPS was asked for, but
            WordNet is not there.
    """
    data = registry.canonical("dataset", data)
    labelled = [(e, a) for e, a in zip(examples, answers, strict=True) if e.answers]
    if not labelled:
        raise DataError(f"The split '{split}' of '{data}' has no answers: nothing can be scored.")
    scored, given = [e for e, _ in labelled], [a for _, a in labelled]
    measure = _Measure(data, split, digest(scored), _today(), scored, decode)
    found: list[Metric] = []
    truths = [truth_of(example) for example in scored]
    read = comparison_of(scored).read
    right = accuracies(scored, given)
    found += measure.with_interval("accuracy", right, SINGLE)
    name, rows, per_question = measured(scored, given)
    main, rule, trusted = measure, SINGLE, given
    if name == "vqa-accuracy":
        trusted = [given[row] for row in rows]
        main = replace(measure, examples=[scored[row] for row in rows])
        rule = f"{PEOPLE}|normaliser:vqa-reference-v1"
        found += _agreement(main, trusted, per_question)
    several = len(asked_several(scored))
    if 0 < several < len(scored):
        report(
            f"{'Measured' if name == 'vqa-accuracy' else 'Left out'} vqa-accuracy: {several:,} of "
            f"{len(scored):,} questions have the {SEVERAL} answers that it needs"
            f"{', and only they count' if name == 'vqa-accuracy' else ', too few'}."
        )
    found += main.by_type(name, per_question, rule)
    if known is not None:
        found += measure.by_count(right, truths, known)
        found += _baselines(measure, scored, truths, known)
    worded = [replace(answer, text=read(answer.text)) for answer in given]
    found += _words(measure, worded, truths)
    found += _wups(measure, worded, truths, data, wups, report)
    found += _answerability(measure, scored, given, report)
    found += _reliability(main, trusted, per_question, rule, report)
    return found


@dataclass(frozen=True)
class _Measure:
    """Makes metrics of one set of scored questions."""

    data: str
    split: str
    sha256: str
    date: str
    examples: Sequence[Example]
    decode: str = ""

    def one(
        self, name: str, value: float, how: str, questions: int | None = None
    ) -> Iterator[Metric]:
        count = len(self.examples) if questions is None else questions
        how = f"{how}|decode:{self.decode}" if self.decode else how
        rule = comparison_of(self.examples).name
        compared_by = "" if rule == TEXT.name else f"|comparison:{rule}"
        signature = f"{name}|v1|{how}{compared_by}|data:{self.data}|split:{self.split}|n:{count}"
        yield Metric(name, float(value), self.split, count, signature, self.sha256, self.date)

    def with_interval(self, name: str, scores: Floats, how: str) -> Iterator[Metric]:
        pictures = [str(example.image) for example in self.examples]
        low, high = bootstrap_interval(scores, pictures=pictures)
        smallest = math.sqrt(2) * smallest_difference(scores, pictures)
        for metric in self.one(name, float(scores.mean()), how):
            yield replace(
                metric,
                interval=(low, high),
                interval_method=f"bootstrap over {drawn(pictures)}",
                smallest_difference=None if math.isnan(smallest) else smallest,
            )

    def by_type(self, name: str, scores: Floats, how: str) -> Iterator[Metric]:
        """Means over the questions of each answer type and each question type."""
        for field in ("answer_type", "question_type"):
            rows: dict[str, list[int]] = {}
            for row, example in enumerate(self.examples):
                rows.setdefault(getattr(example, field), []).append(row)
            rows.pop("", None)
            for kind, chosen in sorted(rows.items()):
                part = f"{name}/{field.replace('_', '-')}={kind}"
                yield from self.one(part, scores[chosen].mean(), how, len(chosen))

    def by_count(
        self, scores: Floats, truths: Sequence[str], known: AnswerList
    ) -> Iterator[Metric]:
        """Accuracy by how often the selected answer was learnt; 0 also if it is not in the list."""
        if not any(known.counts):  # a list that was never counted
            return
        counts = known.counted_by(comparison_of(self.examples))
        places = np.array(
            [bisect(list(COUNT_GROUPS), counts.get(truth, 0)) - 1 for truth in truths]
        )
        for place, group in enumerate(COUNT_GROUPS.values()):
            chosen = scores[places == place]
            if len(chosen):
                how = f"{SINGLE}|counts:training answers"
                part = f"accuracy/answer-count={group}"
                yield from self.one(part, float(chosen.mean()), how, len(chosen))


def _agreement(measure: _Measure, answers: Sequence[Answer], scores: Floats) -> Iterator[Metric]:
    """VQA accuracy in its variants."""
    examples = measure.examples
    yield from measure.with_interval(
        "vqa-accuracy", scores, f"{PEOPLE}|normaliser:vqa-reference-v1"
    )
    pairs = list(zip(examples, answers, strict=True))
    always = [vqa_accuracy.accuracy_always(*compared(e, a)) for e, a in pairs]
    yield from measure.one(
        "vqa-accuracy-always", float(np.mean(always)), f"{PEOPLE}|normaliser:vqa-always-v1"
    )
    if all(example.answerable is not None for example in examples):
        vizwiz = [vqa_accuracy.accuracy_vizwiz(*compared(e, a)) for e, a in pairs]
        yield from measure.one(
            "vizwiz-accuracy", float(np.mean(vizwiz)), f"{PEOPLE}|normaliser:vizwiz-v1"
        )


def _baselines(
    measure: _Measure, examples: Sequence[Example], truths: Sequence[str], known: AnswerList
) -> Iterator[Metric]:
    """What a constant answer scores, and what the answer list can reach."""
    constant = known.texts[known.counts.index(max(known.counts))]
    same = sum(same_answer(example, constant) for example in examples) / len(truths)
    yield from measure.one("constant-answer-accuracy", same, SINGLE)
    if have_several_answers(examples):
        _, rows, agreed = measured(examples, [Answer(constant, 1.0)] * len(examples))
        how = f"{PEOPLE}|normaliser:vqa-reference-v1"
        name = "constant-answer-vqa-accuracy"
        yield from measure.one(name, float(agreed.mean()), how, len(rows))
    texts = known.counted_by(comparison_of(examples))
    reachable = sum(truth in texts for truth in truths) / len(truths)
    yield from measure.one("known-answer-share", reachable, SINGLE)


def _words(measure: _Measure, answers: Sequence[Answer], truths: Sequence[str]) -> Iterator[Metric]:
    """SQuAD, BLEU and chrF against the selected answer."""
    texts = [answer.text for answer in answers]
    one = f"references:{SELECTION}"
    pairs = list(zip(texts, truths, strict=True))
    exact = np.mean([words.exact_match(text, [truth]) for text, truth in pairs])
    yield from measure.one("squad-exact-match", float(exact), f"{one}|normaliser:squad-v1.1")
    overlap = np.mean([words.f1(text, [truth]) for text, truth in pairs])
    yield from measure.one("squad-f1", float(overlap), f"{one}|normaliser:squad-v1.1")
    bleu = words.bleu(texts, truths)
    for order, value in zip(words.ORDERS, bleu.corpus, strict=True):
        how = f"{one}|corpus|order:{order}|sacrebleu:{bleu.corpus_signature}"
        yield from measure.one(f"bleu-{order}", value, how)
    how = f"{one}|mean of sentences|sacrebleu:{bleu.sentence_signature}"
    yield from measure.one("sentence-bleu", bleu.sentence, how)
    how = f"{one}|mean of sentences|sacrebleu:{bleu.sentence_1_signature}"
    yield from measure.one("sentence-bleu-1", bleu.sentence_1, how)
    value, signature = words.chrf(texts, truths)
    yield from measure.one("chrf", value, f"{one}|corpus|sacrebleu:{signature}")


def _wups(
    measure: _Measure,
    answers: Sequence[Answer],
    truths: Sequence[str],
    data: str,
    wanted: bool | None,
    report: Callable[[str], None],
) -> Iterator[Metric]:
    manifest = registry.manifest("dataset", data)
    if wanted is False or (wanted is None and not manifest.wups):
        return
    try:
        similarity = wups_metric.wordnet_similarity()
    except DataError as error:
        if wanted:
            raise
        report(f"Left out WUPS: {error}")
        return
    for threshold in WUPS_THRESHOLDS:
        values = [
            wups_metric.wups(answer.text, truth, float(threshold), similarity)
            for answer, truth in zip(answers, truths, strict=True)
        ]
        how = f"references:{SELECTION}|wordnet:3.0|similarity:wu-palmer-nouns"
        yield from measure.one(f"wups-{threshold}", float(np.mean(values)), how)


def _answerability(
    measure: _Measure,
    examples: Sequence[Example],
    answers: Sequence[Answer],
    report: Callable[[str], None],
) -> Iterator[Metric]:
    """How well unanswerable questions are told, where somebody said which are."""
    if any(example.answerable is None for example in examples):
        return
    unanswerable = np.array([not example.answerable for example in examples])
    yield from measure.one("unanswerable-share", float(unanswerable.mean()), "rule:answerable=0")
    if any(answer.answerable is None for answer in answers):
        return
    chance = np.array([answer.answerable for answer in answers], dtype=np.float64)
    for name, positive, value in (
        ("unanswerable", unanswerable, 1 - chance),
        ("answerable", ~unanswerable, chance),
    ):
        found = reliability.average_precision(positive, value)
        if not np.isnan(found):
            how = f"positive:{name}|uninterpolated"
            yield from measure.one(f"answerability-ap-{name}", found, how)
    if not _are_probabilities(chance, "answerability-f1", "'answerable'", report):
        return
    found = reliability.f1_score(unanswerable, (1 - chance) > 0.5)
    yield from measure.one("answerability-f1", found, "positive:unanswerable|threshold:0.5")


def _reliability(
    measure: _Measure,
    answers: Sequence[Answer],
    scores: Floats,
    rule: str,
    report: Callable[[str], None],
) -> Iterator[Metric]:
    """Whether the model's confidence tells when to trust it; needs a confidence for each answer."""
    confidence = np.array([answer.score for answer in answers], dtype=np.float64)
    if np.isnan(confidence).any():
        return
    curve = reliability.risk_coverage(scores, confidence)
    how = f"score:{rule}|confidence:answer score"
    yield from measure.one("risk-coverage-area", curve.area(), how)
    for risk in reliability.RISKS:
        name = f"coverage-at-{round(100 * risk)}-percent-risk"
        yield from measure.one(name, curve.coverage_at(risk), how)
    for cost in reliability.COSTS:
        best, everything = reliability.effective_reliability(scores, confidence, cost)
        name = f"effective-reliability-{cost}"
        yield from measure.one(f"{name}-best", best, f"{how}|threshold:best on this split")
        yield from measure.one(f"{name}-all", everything, f"{how}|threshold:none")
    if not _are_probabilities(confidence, "calibration-error", "'score'", report):
        return
    error = reliability.calibration_error(scores, confidence)
    yield from measure.one("calibration-error", error, f"{how}|bins:{reliability.BINS}")


def _are_probabilities(
    values: Floats, metric: str, column: str, report: Callable[[str], None]
) -> bool:
    """Whether all are in [0, 1]; if not, it is reported that the metric is left out."""
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 + 1e-6:
        return True
    report(
        f"Left out {metric}: {column} goes from {low:.4g} to {high:.4g}, but probabilities are "
        f"from 0 to 1; what only ranks the answers was measured."
    )
    return False


def by_name(metrics: Sequence[Metric]) -> Mapping[str, dict[str, Any]]:
    """Metrics as JSON under their names."""
    return {metric.name: metric.to_json() for metric in metrics}
