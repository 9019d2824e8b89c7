"""SQuAD, BLEU and chrF against published vectors and the libraries that define them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from vqazoo.evaluation.metrics.words import bleu, chrf, exact_match, f1, squad_normalise

VOCABULARY = ["red", "car", "the", "a", "Coca-Cola,", "it's", "don't", "3.5", "dog!", "on", "TABLE"]


def random_pairs(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Short answers with many repeats, of which a third is right."""
    rng = random.Random(seed)

    def words() -> str:
        return " ".join(rng.choices(VOCABULARY, k=rng.choice((1, 1, 1, 2, 3, 6))))

    references = [words() for _ in range(count)]
    answers = [one if rng.random() < 1 / 3 else words() for one in references]
    return answers, references


# ---- SQuAD --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "overlap"),
    [
        ("Coca-Cola can", "coca cola can", 0, 0.40),
        ("the", "a", 1, 1),
        ("dr. pepper soda", "Dr Pepper", 0, 0.80),
        ("blue shirt", "shirt", 0, 2 / 3),
        ("", "", 1, 1),
        ("", "red", 0, 0),
        ("red", "the", 0, 0),
        ("the red car", "Red  car!", 1, 1),
        ("red red car", "red car car", 0, 2 / 3),
        ("blue", "red", 0, 0),
    ],
)
def test_squad_examples(answer: str, reference: str, exact: float, overlap: float) -> None:
    assert exact_match(answer, [reference]) == exact
    assert f1(answer, [reference]) == pytest.approx(overlap)


def test_squad_takes_the_best_reference() -> None:
    references = ["car", "red car", "blue"]
    assert exact_match("the red car", references) == 1
    assert exact_match("red", references) == 0
    assert f1("red", references) == pytest.approx(2 / 3)


def test_articles_are_words_not_parts_of_words() -> None:
    assert squad_normalise("An athlete, the theatre; a-b") == "athlete theatre ab"


def test_squad_agrees_with_torchmetrics() -> None:
    text = pytest.importorskip("torchmetrics.text")
    answers, references = random_pairs(200, seed=0)
    answers += ["", "a", "the red", ""]
    references += ["red", "the", "", ""]
    said = [{"id": str(n), "prediction_text": one} for n, one in enumerate(answers)]
    truth = [
        {"id": str(n), "answers": {"text": [one, references[0]], "answer_start": [0, 0]}}
        for n, one in enumerate(references)
    ]
    score = text.SQuAD()(said, truth)
    pairs = [(a, [r, references[0]]) for a, r in zip(answers, references, strict=True)]
    exact = sum(exact_match(a, several) for a, several in pairs) / len(pairs)
    overlap = sum(f1(a, several) for a, several in pairs) / len(pairs)
    assert 100 * exact == pytest.approx(float(score["exact_match"]), abs=1e-3)
    assert 100 * overlap == pytest.approx(float(score["f1"]), abs=1e-3)


# ---- BLEU ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reference", "sentence", "order_1"),
    [
        ("red", "red", 100, 100),
        ("red car", "red", 50, 50),
        ("red", "red car", 36.79, 36.79),
        ("a red car", "the red car", 55.03, 66.67),
        ("on the wooden table", "on the table", 35.36, 75),
        ("on the table", "on the wooden table", 45.14, 71.65),
        ("it is a dog", "it is a cat", 59.46, 75),
        ("the", "the big red dog", 4.98, 4.98),
        ("coca cola.", "coca cola", 55.03, 66.67),
        ("Red", "red", 0, 0),
    ],
)
def test_bleu_examples(answer: str, reference: str, sentence: float, order_1: float) -> None:
    found = bleu([answer], [reference])
    assert round(100 * found.sentence, 2) == sentence
    assert round(100 * found.corpus[0], 2) == order_1


@pytest.mark.parametrize("seed", range(4))
def test_corpus_bleu_of_every_order_agrees_with_sacrebleu(seed: int) -> None:
    answers, references = random_pairs(300, seed)
    found = bleu(answers, references)
    for order, value in enumerate(found.corpus, start=1):
        expected = BLEU(max_ngram_order=order).corpus_score(answers, [references]).score
        assert 100 * value == pytest.approx(expected, abs=1e-9)
    everything = sacrebleu.corpus_bleu(answers, [references]).score
    assert 100 * found.corpus[3] == pytest.approx(everything, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_sentence_bleu_is_the_mean_of_a_plain_loop(seed: int) -> None:
    answers, references = random_pairs(300, seed)
    pairs = zip(answers, references, strict=True)
    each = [sacrebleu.sentence_bleu(a, [r]).score for a, r in pairs]
    assert 100 * bleu(answers, references).sentence == pytest.approx(sum(each) / len(each))


def test_only_right_answers_score_one_and_only_wrong_ones_zero() -> None:
    right = bleu(["red", "on the table"] * 5, ["red", "on the table"] * 5)
    assert right.corpus[:3] == (1.0, 1.0, 1.0)
    assert right.sentence == 1.0
    wrong = bleu(["red"] * 5, ["blue"] * 5)
    assert (wrong.corpus, wrong.sentence) == ((0.0,) * 4, 0.0)


def test_empty_answers_score_zero_and_lengthen_the_corpus_by_nothing() -> None:
    assert bleu(["", "red"], ["red", "red"]).sentence == pytest.approx(0.5)
    assert bleu(["", "red"], ["red", "red"]).corpus[0] == pytest.approx(0.36788, abs=1e-5)
    assert bleu([""], [""]).sentence == 0.0
    assert bleu([], []).sentence == 0.0


def test_one_word_answers_reduce_bleu_1_to_accuracy() -> None:
    found = bleu(["red", "blue", "no", "no"], ["red", "red", "no", "yes"])
    assert (found.corpus[0], found.sentence) == pytest.approx((0.5, 0.5))


def test_signatures_tell_tokeniser_case_and_effective_order() -> None:
    found = bleu(["red"], ["red"])
    for part in ("tok:13a", "case:mixed", "smooth:exp", "nrefs:1"):
        assert part in found.corpus_signature
    assert found.corpus_signature.endswith(sacrebleu.__version__)
    assert "eff:no" in found.corpus_signature
    assert "eff:yes" in found.sentence_signature


@pytest.mark.parametrize("metric", [bleu, chrf])
def test_answers_and_references_must_be_as_many(metric: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="shorter"):
        metric(["red", "blue"], ["red"])


@given(st.permutations(list(range(12))))
def test_the_order_of_questions_does_not_change_bleu(order: list[int]) -> None:
    answers, references = random_pairs(12, seed=5)
    one = bleu(answers, references)
    other = bleu([answers[row] for row in order], [references[row] for row in order])
    assert one.corpus == pytest.approx(other.corpus)
    assert one.sentence == pytest.approx(other.sentence)


# ---- chrF ---------------------------------------------------------------------------------------


def test_chrf_agrees_with_sacrebleu() -> None:
    answers, references = random_pairs(300, seed=0)
    value, signature = chrf(answers, references)
    assert 100 * value == pytest.approx(sacrebleu.corpus_chrf(answers, [references]).score)
    assert "nc:6|nw:0" in signature
    assert chrf(["red"], ["red"])[0] == 1.0
    assert chrf(["xyz"], ["red"])[0] == 0.0


def test_sentence_bleu_1_is_the_mean_of_sacrebleus_sentences_of_one_word() -> None:
    answers, references = random_pairs(300, 5)
    expected = [
        BLEU(max_ngram_order=1, smooth_method="none", effective_order=True)
        .sentence_score(answer, [reference])
        .score
        for answer, reference in zip(answers, references, strict=True)
    ]
    found = bleu(answers, references)
    assert found.sentence_1 == pytest.approx(sum(expected) / len(expected) / 100)
    assert "smooth:none" in found.sentence_1_signature


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("red car", "red", 50),
        ("red", "red car", 36.79),
        ("a red car", "the red car", 66.67),
        ("on the wooden table", "on the table", 75),
        ("Red", "red", 0),
        ("", "red", 0),
        ("on the table", "on the wooden table", 71.65),
        ("the", "the big red dog", 4.98),
    ],
)
def test_sentence_bleu_1_of_single_answers(answer: str, reference: str, expected: float) -> None:
    assert 100 * bleu([answer], [reference]).sentence_1 == pytest.approx(expected, abs=0.005)
