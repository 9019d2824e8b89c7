"""Metrics of captions, of answers in sentences: METEOR, ROUGE-L, CIDEr-D.

The scorer of COCO captions splits words with a program in Java and so do its METEOR and SPICE; here
words are split by nltk's Treebank rules, in lower case, and the same punctuation is left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.evaluation.metrics.wups import wordnet
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric

INSTALL = "run  pip install 'vqazoo[metrics]'"
# Left out by the tokenizer of COCO captions.
PUNCTUATION = {"''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-"} | {
    *(".", "?", "!", ",", ":", "-", "--", "...", ";")
}
LONGEST = 4  # words of an n-gram
SIGMA = 6.0
SCALE = 10.0

NGram = tuple[str, ...]


class Meteor(AnswerMetric):
    """Mean of each answer's METEOR with the answer of people that is nearest."""

    def __init__(self) -> None:
        """Raises DataError: nltk or WordNet 3.0 is not there."""
        try:
            self.wordnet = wordnet()
        except DataError as error:
            told = str(error).replace("WUPS", "METEOR").replace("vqazoo[wups]", "vqazoo[metrics]")
            raise DataError(told) from error
        self.words = _tokenizer()

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        from nltk.translate.meteor_score import meteor_score

        @lru_cache(maxsize=100_000)
        def score(answer: str, references: tuple[str, ...]) -> float:
            given = self.words(answer)
            if not given:
                return 0.0
            told = [self.words(reference) for reference in references]
            return float(meteor_score(told, given, wordnet=self.wordnet))

        pairs = zip(examples, answers, strict=True)
        return {"": np.array([score(answer.text, e.answers) for e, answer in pairs])}


class RougeL(AnswerMetric):
    """Mean of each answer's ROUGE-L with the answer of people that is nearest.

    The package reads a to z and 0 to 9 only: texts in other scripts score 0.
    """

    def __init__(self) -> None:
        """Raises DataError: the package is not installed."""
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError as error:
            raise DataError(
                f"ROUGE-L needs the package 'rouge-score', which is not installed: {INSTALL}."
            ) from error
        self.scorer = RougeScorer(["rougeL"])

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        @lru_cache(maxsize=100_000)
        def score(answer: str, references: tuple[str, ...]) -> float:
            return float(self.scorer.score_multi(list(references), answer)["rougeL"].fmeasure)

        pairs = zip(examples, answers, strict=True)
        return {"": np.array([score(answer.text, e.answers) for e, answer in pairs])}


class Cider(AnswerMetric):
    """Mean of each answer's CIDEr-D with all answers of people.

    The weight of an n-gram falls with the number of questions whose answers have it, so that the
    score is of the whole split: parts of it score otherwise.
    """

    def __init__(self) -> None:
        """Raises DataError: nltk is not installed."""
        self.words = _tokenizer()

    def undefined(self, examples: Sequence[Example]) -> str:
        return "" if len(examples) > 1 else "n-grams are weighted by questions, but there is one"

    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        references = [[_ngrams(self.words(text)) for text in e.answers] for e in examples]
        given = [_ngrams(self.words(answer.text)) for answer in answers]
        return {"": np.array(cider_d(given, references))}


def cider_d(
    given: Sequence[Counter[NGram]], references: Sequence[Sequence[Counter[NGram]]]
) -> list[float]:
    """CIDEr-D of each answer, all counted in n-grams of one to four words."""
    documents = Counter(
        ngram for told in references for ngram in {ngram for each in told for ngram in each}
    )
    total = math.log(len(references))

    def weighted(counts: Counter[NGram]) -> list[dict[NGram, float]]:
        vectors: list[dict[NGram, float]] = [{} for _ in range(LONGEST)]
        for ngram, times in counts.items():
            weight = total - math.log(max(1, documents[ngram]))
            vectors[len(ngram) - 1][ngram] = times * weight
        return vectors

    scores = []
    for answer, told in zip(given, references, strict=True):
        own = weighted(answer)
        summed = 0.0
        for reference in told:
            # The official scorer takes the number of word pairs as the length.
            longer = _pairs(answer) - _pairs(reference)
            near = sum(map(_similarity, own, weighted(reference)))
            summed += math.exp(-(longer**2) / (2 * SIGMA**2)) * near
        scores.append(SCALE * summed / LONGEST / len(told))
    return scores


def _similarity(answer: Mapping[NGram, float], reference: Mapping[NGram, float]) -> float:
    common = sum(min(w, reference.get(n, 0.0)) * reference.get(n, 0.0) for n, w in answer.items())
    lengths = math.sqrt(sum(w**2 for w in answer.values()) * sum(w**2 for w in reference.values()))
    return common / lengths if lengths else 0.0


def _pairs(counts: Counter[NGram]) -> int:
    return sum(times for ngram, times in counts.items() if len(ngram) == 2)


def _ngrams(words: Sequence[str]) -> Counter[NGram]:
    return Counter(
        tuple(words[start : start + n])
        for n in range(1, LONGEST + 1)
        for start in range(len(words) - n + 1)
    )


def _tokenizer() -> Any:
    try:
        from nltk.tokenize import TreebankWordTokenizer
    except ImportError as error:
        raise DataError(
            f"This metric needs the package 'nltk', which is not installed: {INSTALL}."
        ) from error
    tokenizer = TreebankWordTokenizer()

    def words(text: str) -> list[str]:
        return [word for word in tokenizer.tokenize(text.lower()) if word not in PUNCTUATION]

    return words
