"""Every rule about single tokens changes scores as transformers' own logits processor does."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from vqazoo.errors import ConfigError, QuestionError
from vqazoo.toolkit.constraints import Constraints, Rules

processors = pytest.importorskip("transformers.generation.logits_process")

VOCABULARY, LIMIT, ENDS = 11, 4, (7, 9)
Oracle = Callable[[list[int]], Any]  # of what was read: the library's object


def library(name: str, **args: Any) -> Oracle:
    return lambda read: getattr(processors, name)(**args)


RULES: list[tuple[dict[str, Any], Oracle]] = [
    ({"repetition_penalty": 1.7}, library("RepetitionPenaltyLogitsProcessor", penalty=1.7)),
    ({"repetition_penalty": 0.6}, library("RepetitionPenaltyLogitsProcessor", penalty=0.6)),
    *(
        ({"no_repeat_ngram_size": n}, library("NoRepeatNGramLogitsProcessor", ngram_size=n))
        for n in (1, 2, 3)
    ),
    *(
        (
            {"bad_words_ids": words},
            library("NoBadWordsLogitsProcessor", bad_words_ids=words, eos_token_id=list(ENDS)),
        )
        for words in ([[3]], [[3], [2, 5]], [[7], [1, 7]], [[4, 4, 6], [9]])
    ),
    ({"min_length": 5}, library("MinLengthLogitsProcessor", min_length=5, eos_token_id=list(ENDS))),
    (
        {"min_tokens": 2},
        lambda read: processors.MinNewTokensLengthLogitsProcessor(
            prompt_length_to_skip=len(read), min_new_tokens=2, eos_token_id=list(ENDS)
        ),
    ),
    ({"forced_bos_token_id": 4}, library("ForcedBOSTokenLogitsProcessor", bos_token_id=4)),
    (
        {"forced_eos_token_id": 9},
        lambda read: processors.ForcedEOSTokenLogitsProcessor(
            max_length=len(read) + LIMIT, eos_token_id=9
        ),
    ),
    (
        {"suppress_tokens": [0, 10]},
        library("SuppressTokensLogitsProcessor", suppress_tokens=[0, 10]),
    ),
    (
        {"begin_suppress_tokens": [2, 8]},
        lambda read: processors.SuppressTokensAtBeginLogitsProcessor([2, 8], begin_index=len(read)),
    ),
]


# transformers 5.10 ignores a word until as many tokens are there as it has, not one fewer.
LOOKS_TOO_LATE = "len(sequence_ids) > input_ids.shape[1]" in inspect.getsource(
    processors.SequenceBiasLogitsProcessor
)


def cases() -> Iterator[tuple[list[int], list[int], Tensor]]:
    """What was read and written so far, with tokens that repeat, and the next scores (1, V)."""
    dice = random.Random(0)
    torch.manual_seed(0)
    for asked in (1, 2, 5):
        for written in range(LIMIT):
            for _ in range(6):
                tokens = [dice.choice((1, 2, 3, 4, 5, 9)) for _ in range(asked + written)]
                yield tokens[:asked], tokens[asked:], torch.randn(1, VOCABULARY)


@pytest.mark.parametrize(("options", "oracle"), RULES, ids=[str(one) for one, _ in RULES])
def test_a_rule_does_what_the_librarys_does(options: dict[str, Any], oracle: Oracle) -> None:
    changed = 0
    for read, own, scores in cases():
        words = options.get("bad_words_ids", ()) if LOOKS_TOO_LATE else ()
        if any(len(word) > len(read) + len(own) for word in words):
            continue
        rules = Constraints(Rules(said=[read], **options), ENDS, [LIMIT])
        before = scores.clone()
        found = rules(scores, torch.tensor([own], dtype=torch.int64))
        wanted = oracle(read)(torch.tensor([[*read, *own]]), scores.clone())
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        assert torch.equal(scores, before), "the writer's own scores were changed"
        changed += not torch.equal(found, before)
    assert changed, "the rule was never at work"


def test_rows_have_their_own_past_and_limit_and_beams_share_a_row() -> None:
    torch.manual_seed(1)
    rules = Rules(said=[[1, 2], [3]], no_repeat_ngram_size=1, forced_eos_token_id=9)
    both, scores = Constraints(rules, ENDS, [2, 3]), torch.randn(4, VOCABULARY)
    written = torch.tensor([[4], [5], [4], [5]])
    found = both(scores, written)
    assert found[0].isneginf().nonzero().flatten().tolist() == [*range(9), 10]  # its last token
    assert found[1].isneginf().sum() == VOCABULARY - 1
    assert found[2].isneginf().nonzero().flatten().tolist() == [3, 4]
    assert found[3].isneginf().nonzero().flatten().tolist() == [3, 5]


@pytest.mark.parametrize(
    "option",
    [
        {"repetition_penalty": 2.0},
        {"no_repeat_ngram_size": 2},
        {"max_length": 9},
        {"min_length": 1},
        {"bad_words_ids": [[1]]},
        {"forced_bos_token_id": 0},
    ],
)
def test_rules_that_count_what_was_read_say_so(option: dict[str, Any]) -> None:
    assert Rules(**option).counts_said


@pytest.mark.parametrize(
    "option",
    [
        {},
        {"min_tokens": 3},
        {"suppress_tokens": [1]},
        {"begin_suppress_tokens": [1]},
        {"forced_eos_token_id": 3},
        {"early_stopping": "never"},
        {"sample_k": 4},
    ],
)
def test_other_rules_need_not_know_what_was_read(option: dict[str, Any]) -> None:
    assert not Rules(**option).counts_said


def test_a_row_may_write_what_its_question_leaves_of_the_longest() -> None:
    rules = Rules(said=[[1, 2], [3]], max_length=5)
    assert rules.limits(2, 0, 20) == [3, 4]
    assert rules.limits(2, 7, 20) == [7, 7]  # asked for, as max_new_tokens wins in the library
    assert Rules(max_length=5).limits(2, 0, 20) == [5, 5]
    assert Rules().limits(3, 0, 20) == [20, 20, 20]
    assert Rules(said=[[1, 2, 3, 4]], max_length=5).limits(1, 0, 20) == [1]
    with pytest.raises(QuestionError, match="has 5 tokens"):
        Rules(said=[[1] * 5], max_length=5).limits(1, 0, 20)


@pytest.mark.parametrize(
    "option",
    [
        {"max_length": -1},
        {"min_tokens": -1},
        {"sample_k": -2},
        {"repetition_penalty": 0.0},
        {"bad_words_ids": [[]]},
        {"bad_words_ids": [[1, -1]]},
        {"suppress_tokens": [True]},
        {"begin_suppress_tokens": [-3]},
        {"eos_token_ids": [-1, 2]},
    ],
)
def test_what_is_out_of_range_is_named(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        Rules(**option)


def test_no_end_is_an_end_that_is_none() -> None:
    assert Rules(eos_token_ids=[-1]).ends(3) == ()
    assert Rules(eos_token_ids=[4, 5]).ends(3) == (4, 5)
    assert Rules().ends(3) == (3,)
    with pytest.raises(ConfigError, match="The token 11 is to be written"):
        Constraints(Rules(forced_bos_token_id=11), ENDS, [2])(
            torch.zeros(1, VOCABULARY), torch.tensor([[1]])
        )
