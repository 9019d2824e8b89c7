"""Scores of words in common with the reference: SQuAD, BLEU, chrF."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

ARTICLES = re.compile(r"\b(a|an|the)\b")
DELETED = str.maketrans("", "", string.punctuation)
ORDERS = (1, 2, 3, 4)


# ---- SQuAD (Rajpurkar et al. 2016, section 6.1) -------------------------------------------------


@lru_cache(maxsize=1_000_000)
def squad_normalise(text: str) -> str:
    """Lower case, punctuation deleted, articles and surplus blanks removed."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(DELETED)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """Score 1 if the answer is one of the references once both are normalised."""
    wanted = squad_normalise(answer)
    return float(any(squad_normalise(reference) == wanted for reference in references))


def f1(answer: str, references: Sequence[str]) -> float:
    """Largest harmonic mean of word precision and recall over the references."""
    return max(_f1(squad_normalise(answer), squad_normalise(reference)) for reference in references)


def _f1(answer: str, reference: str) -> float:
    answer_words, reference_words = answer.split(), reference.split()
    if not answer_words or not reference_words:
        return float(answer_words == reference_words)
    common = (Counter(answer_words) & Counter(reference_words)).total()
    return 2 * common / (len(answer_words) + len(reference_words))


# ---- BLEU (Papineni et al. 2002) and chrF (Popovic 2015), through sacrebleu ---------------------


@dataclass(frozen=True)
class BleuScores:
    """BLEU of a whole set of answers against one reference each, in [0, 1].

    Attributes:
        corpus: BLEU up to n-grams of 1, 2, 3 and 4 words, from counts summed over all answers.
        sentence: mean over answers of BLEU-4 with effective order; 0 for an empty answer.
        sentence_1: mean over answers of BLEU-1, the score that CLIP+LSTM reports.
        corpus_signature, sentence_signature, sentence_1_signature: of sacrebleu.
        long_references: how many have at least 1, 2, 3 and 4 words; corpus BLEU of more words than
            few of them have rests on these alone.
    """

    corpus: tuple[float, float, float, float]
    sentence: float
    corpus_signature: str
    sentence_signature: str
    sentence_1: float
    sentence_1_signature: str
    long_references: tuple[int, int, int, int]


def bleu(answers: Sequence[str], references: Sequence[str]) -> BleuScores:
    """Each distinct pair is counted by sacrebleu once; VQA repeats few pairs very often."""
    per_sentence, corpus = BLEU(effective_order=True), BLEU()
    one_word = BLEU(max_ngram_order=1, smooth_method="none", effective_order=True)
    counts, totals, long = [0] * 4, [0] * 4, [0] * 4
    answer_length = reference_length = 0
    sentence = sentence_1 = 0.0
    for (answer, reference), times in Counter(zip(answers, references, strict=True)).items():
        statistics = per_sentence.sentence_score(answer, [reference])
        if answer.strip() and reference.strip():
            sentence += times * statistics.score
            sentence_1 += times * one_word.sentence_score(answer, [reference]).score
        answer_length += times * statistics.sys_len
        reference_length += times * statistics.ref_len
        for order in range(4):
            counts[order] += times * statistics.counts[order]
            totals[order] += times * statistics.totals[order]
            long[order] += times * (statistics.ref_len > order)
    scores = [
        _share(
            BLEU.compute_bleu(
                counts[:order],
                totals[:order],
                answer_length,
                reference_length,
                smooth_method="exp",
                max_ngram_order=order,
            ).score
        )
        for order in ORDERS
    ]
    # sacrebleu tells the signature after a score only
    for metric in (corpus, per_sentence, one_word):
        metric.corpus_score([""], [[""]])
    return BleuScores(
        (scores[0], scores[1], scores[2], scores[3]),
        _share(sentence / max(1, len(answers))),
        str(corpus.get_signature()),
        str(per_sentence.get_signature()),
        _share(sentence_1 / max(1, len(answers))),
        str(one_word.get_signature()),
        (long[0], long[1], long[2], long[3]),
    )


def _share(score: float) -> float:
    """A score of sacrebleu in [0, 1]; it rounds to a little above 100."""
    return min(1.0, score / 100)


def chrf(answers: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """Corpus chrF2 of answers against one reference each, and sacrebleu's signature.

    Each distinct pair is counted once, as in `bleu`; sacrebleu has no public way to weight counts,
    so its two internal steps are called apart. A test compares with its `corpus_score`.
    """
    times = Counter(zip(answers, references, strict=True))
    metric = CHRF()
    counts = metric._extract_corpus_statistics([a for a, _ in times], [[r for _, r in times]])
    weighted = [
        [n * statistic for statistic in row] for row, n in zip(counts, times.values(), strict=True)
    ]
    return _share(metric._aggregate_and_compute(weighted).score), str(metric.get_signature())
