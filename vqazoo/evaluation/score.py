"""Every metric that questions and their answers allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from vqazoo.data import Example, digest
from vqazoo.data.answers import (
    SELECTION,
    AnswerList,
    reference_for,
    same_answer,
    truth_of,
    truths_of,
)
from vqazoo.errors import DataError
from vqazoo.evaluation.agreement import (
    FEWEST_PEOPLE,
    accuracies,
    asked_several,
    compared,
    comparison_of,
    have_several_answers,
    measured,
)
from vqazoo.evaluation.chosen_metrics import Chosen, chosen_metrics
from vqazoo.evaluation.metric import (
    PEOPLE,
    SINGLE_ANSWER,
    Measure,
    Metric,
    today,
    told_by_path,
)
from vqazoo.evaluation.metrics import Floats, reliability, vqa_accuracy, words
from vqazoo.evaluation.metrics import wups as wups_metric
from vqazoo.evaluation.metrics.significance import Pictures
from vqazoo.interfaces import Answer
from vqazoo.manifests import DatasetManifest
from vqazoo.registry import registry

LONG_SHARE = 0.02  # of people's answers that have n words, below which BLEU-n is not told
WUPS_THRESHOLDS = ("0.0", "0.9")


def score(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    data: str,
    split: str,
    known: AnswerList | None = None,
    wups: bool | None = None,
    report: Callable[[str], None] = lambda line: None,
    decode: str = "",
    quick: bool = False,
    confidence: str = "answer score",
    pictures: Pictures | None = None,
    chosen: Chosen = MappingProxyType({}),
) -> list[Metric]:
    """Every metric that the examples and answers allow.

    Args:
        pictures: what the picture of each example is told by, for intervals; None: by its path.
        quick: only accuracy, and what to compare it with without intervals, as the training loop
            measures after each epoch.
        decode: how the answers were made, for signatures; empty: by the head's defaults.
        confidence: what the scores of the answers are, for signatures.
        known: the answers a model can give, for its baselines; None for answers of others.
        wups: whether to compute WUPS; None: where the dataset's manifest asks for it and WordNet
            is there; that it is not is reported.
        chosen: metrics that are asked for beside those, with their arguments.

    Raises:
        DataError: no example has an answer, so nothing can be scored; WUPS was asked for, but
            WordNet is not there, or a chosen metric is not defined for the examples.
    """
    data, manifest = registered(data)
    told = pictures or told_by_path(examples)
    labelled = [row for row in zip(examples, answers, told, strict=True) if row[0].answers]
    if not labelled:
        raise DataError(f"The split '{split}' of '{data}' has no answers: nothing can be scored.")
    scored, given, shown = map(list, zip(*labelled, strict=True))
    if unanswered := len(examples) - len(scored):
        report(f"Left out {unanswered:,} of {len(examples):,} questions without an answer.")
    measure = Measure(data, split, digest(scored), today(), scored, decode, shown)
    truths = [truth_of(example) for example in scored]
    read = comparison_of(scored).read
    right = accuracies(scored, given)
    name, rows, per_question = measured(scored, given)
    main, rule, trusted = measure, SINGLE_ANSWER, given
    if name == "vqa-accuracy":
        trusted = [given[row] for row in rows]
        main = measure.of_rows(rows)
        rule = f"{PEOPLE}|normaliser:vqa-reference-v1"
    baselines = [] if known is None else [*_baselines(measure, scored, known, quick)]
    choosing = [*_choosing(measure, scored, given, right)]
    if quick:
        metrics = [*choosing, *measure.with_interval("accuracy", right, SINGLE_ANSWER)]
        if name == "vqa-accuracy":
            metrics += main.with_interval(name, per_question, rule)
        return metrics + baselines
    metrics = [*choosing, *measure.with_interval("accuracy", right, SINGLE_ANSWER)]
    if name == "vqa-accuracy":
        metrics += _agreement(main, trusted, per_question)
    several = len(asked_several(scored))
    if 0 < several < len(scored):
        report(
            f"{'Measured' if name == 'vqa-accuracy' else 'Left out'} vqa-accuracy: {several:,} of "
            f"{len(scored):,} questions have the {FEWEST_PEOPLE} answers that it needs"
            f"{', and only they count' if name == 'vqa-accuracy' else ', too few'}."
        )
    metrics += main.by_type(name, per_question, rule)
    if known is not None:
        metrics += measure.by_count(right, truths, known)
        metrics += baselines
    worded = [replace(answer, text=read(answer.text)) for answer in given]
    references = [reference_for(e, a.text) for e, a in zip(scored, given, strict=True)]
    metrics += _words(measure, worded, references)
    metrics += _wups(measure, worded, references, manifest, wups, report)
    own = manifest.metrics if manifest else ()
    metrics += chosen_metrics(measure, given, chosen, own, report)
    metrics += _answerability(measure, scored, given, report)
    metrics += _reliability(main, trusted, per_question, f"{rule}|confidence:{confidence}", report)
    return metrics


def registered(data: str) -> tuple[str, DatasetManifest | None]:
    """The name of a dataset as the registry spells it, with its manifest.

    The name as it is and None: of questions that no registered reader read, named with a blank,
    which no registered name has.

    Raises:
        UnknownNameError, PluginError: see the message.
    """
    if " " in data.partition(":")[0]:
        return data, None
    name = registry.canonical("dataset", data)
    return name, registry.manifest("dataset", name)


def _choosing(
    measure: Measure, examples: Sequence[Example], answers: Sequence[Answer], right: Floats
) -> Iterator[Metric]:
    """How often the right one of a question's choices was named, what guessing scores, and the
    share of choices that the model could not score."""
    rows = [row for row, example in enumerate(examples) if example.choices]
    if not rows:
        return
    given = [examples[row] for row in rows]
    part = replace(measure.of_rows(rows), sha256=digest(given))
    how = f"{SINGLE_ANSWER}|choices:of each question"
    yield from part.with_interval("choice-accuracy", right[rows], how)
    chance = float(np.mean([_by_chance(example) for example in given]))
    yield from part.metric("choice-chance-accuracy", chance, how)
    count = sum(len(example.choices) for example in given)
    unscored = sum(len(answers[row].unscored) for row in rows)
    yield from part.metric("choice-unscored-share", unscored / count, how)


def _by_chance(example: Example) -> float:
    """What naming one of a question's choices at random scores; releases repeat some of them."""
    return float(np.mean([same_answer(example, text) for text in example.choices]))


def _agreement(measure: Measure, answers: Sequence[Answer], scores: Floats) -> Iterator[Metric]:
    """VQA accuracy in its variants."""
    examples = measure.examples
    yield from measure.with_interval(
        "vqa-accuracy", scores, f"{PEOPLE}|normaliser:vqa-reference-v1"
    )
    pairs = list(zip(examples, answers, strict=True))
    always = [vqa_accuracy.accuracy_always(*compared(e, a)) for e, a in pairs]
    yield from measure.metric(
        "vqa-accuracy-always", float(np.mean(always)), f"{PEOPLE}|normaliser:vqa-always-v1"
    )
    if all(example.answerable is not None for example in examples):
        vizwiz = [vqa_accuracy.accuracy_vizwiz(*compared(e, a)) for e, a in pairs]
        yield from measure.metric(
            "vizwiz-accuracy", float(np.mean(vizwiz)), f"{PEOPLE}|normaliser:vizwiz-v1"
        )


def _baselines(
    measure: Measure,
    examples: Sequence[Example],
    known: AnswerList,
    quick: bool,
) -> Iterator[Metric]:
    """What a constant answer scores, and what the answer list can reach."""

    def mean(measure: Measure, name: str, scores: Floats, how: str) -> Iterator[Metric]:
        if quick:
            return measure.metric(name, float(scores.mean()), how)
        return measure.with_interval(name, scores, how)

    constant = known.texts[known.counts.index(max(known.counts))]
    same = np.array([same_answer(example, constant) for example in examples], dtype=np.float64)
    yield from mean(measure, "constant-answer-accuracy", same, SINGLE_ANSWER)
    if have_several_answers(examples):
        _, rows, agreed = measured(examples, [Answer(constant, 1.0)] * len(examples))
        how = f"{PEOPLE}|normaliser:vqa-reference-v1"
        yield from mean(measure.of_rows(rows), "constant-answer-vqa-accuracy", agreed, how)
    texts = known.counted_by(comparison_of(examples))
    reachable = np.array(
        [any(t in texts for t in truths_of(e)) for e in examples], dtype=np.float64
    )
    yield from mean(measure, "known-answer-share", reachable, SINGLE_ANSWER)


def _too_short(words_together: int, long: int, answers: int) -> str | None:
    """Why BLEU of so many words says nothing here; None: it does."""
    if not long:
        return f"no answer of people has {words_together} words"
    if words_together > 1 and long < LONG_SHARE * answers:
        return f"only {long:,} of {answers:,} answers of people have {words_together} words"
    return None


def _words(measure: Measure, answers: Sequence[Answer], truths: Sequence[str]) -> Iterator[Metric]:
    """SQuAD, BLEU and chrF against the selected answer."""
    texts = [answer.text for answer in answers]
    references = f"references:{SELECTION}"
    pairs = list(zip(texts, truths, strict=True))
    exact = np.mean([words.exact_match(text, [truth]) for text, truth in pairs])
    yield from measure.metric(
        "squad-exact-match", float(exact), f"{references}|normaliser:squad-v1.1"
    )
    overlap = np.mean([words.f1(text, [truth]) for text, truth in pairs])
    yield from measure.metric("squad-f1", float(overlap), f"{references}|normaliser:squad-v1.1")
    bleu = words.bleu(texts, truths)
    orders = zip(words.ORDERS, bleu.corpus, bleu.long_references, strict=True)
    for order, value, long in orders:
        how = f"{references}|corpus|order:{order}|sacrebleu:{bleu.corpus_signature}"
        why = _too_short(order, long, len(truths))
        for metric in measure.metric(f"bleu-{order}", value, how):
            yield replace(metric, undefined=why)
    how = f"{references}|mean of sentences|sacrebleu:{bleu.sentence_signature}"
    yield from measure.metric("sentence-bleu", bleu.sentence, how)
    how = f"{references}|mean of sentences|sacrebleu:{bleu.sentence_1_signature}"
    yield from measure.metric("sentence-bleu-1", bleu.sentence_1, how)
    value, signature = words.chrf(texts, truths)
    yield from measure.metric("chrf", value, f"{references}|corpus|sacrebleu:{signature}")


def _wups(
    measure: Measure,
    answers: Sequence[Answer],
    truths: Sequence[str],
    manifest: DatasetManifest | None,
    wanted: bool | None,
    report: Callable[[str], None],
) -> Iterator[Metric]:
    if wanted is False or (wanted is None and not (manifest and manifest.wups)):
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
        yield from measure.metric(f"wups-{threshold}", float(np.mean(values)), how)


def _answerability(
    measure: Measure,
    examples: Sequence[Example],
    answers: Sequence[Answer],
    report: Callable[[str], None],
) -> Iterator[Metric]:
    """How well unanswerable questions are told, where somebody said which are."""
    if any(example.answerable is None for example in examples):
        return
    unanswerable = np.array([not example.answerable for example in examples])
    share = unanswerable.astype(np.float64)
    yield from measure.with_interval("unanswerable-share", share, "rule:answerable=0")
    if any(answer.answerable is None for answer in answers):
        return
    chance = np.array([answer.answerable for answer in answers], dtype=np.float64)
    for name, positive, value in (
        ("unanswerable", unanswerable, 1 - chance),
        ("answerable", ~unanswerable, chance),
    ):
        average_precision = reliability.average_precision(positive, value)
        if not np.isnan(average_precision):
            how = f"positive:{name}|uninterpolated"
            yield from measure.metric(f"answerability-ap-{name}", average_precision, how)
    if not _are_probabilities(chance, "answerability-f1", "'answerable'", report):
        return
    f1 = reliability.f1_score(unanswerable, (1 - chance) > 0.5)
    yield from measure.metric("answerability-f1", f1, "positive:unanswerable|threshold:0.5")


def _reliability(
    measure: Measure,
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
    how = f"score:{rule}"
    yield from measure.metric("risk-coverage-area", curve.area(), how)
    for risk in reliability.RISKS:
        name = f"coverage-at-{round(100 * risk)}-percent-risk"
        yield from measure.metric(name, curve.coverage_at(risk), how)
    for cost in reliability.COSTS:
        best, everything = reliability.effective_reliability(scores, confidence, cost)
        name = f"effective-reliability-{cost}"
        yield from measure.metric(f"{name}-best", best, f"{how}|threshold:best on this split")
        yield from measure.metric(f"{name}-all", everything, f"{how}|threshold:none")
    if not _are_probabilities(confidence, "calibration-error", "'score'", report):
        return
    error = reliability.calibration_error(scores, confidence)
    yield from measure.metric("calibration-error", error, f"{how}|bins:{reliability.BINS}")
    yield from measure.metric("brier-score", reliability.brier_score(scores, confidence), how)


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
