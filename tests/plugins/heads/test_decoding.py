"""Decoding against an oracle that writes out every answer of a tiny vocabulary."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from vqazoo.errors import ConfigError
from vqazoo.toolkit.decoding import START, State, Step, Written, as_answers, write
from vqazoo_heads.manifest import DECODE

V, END, LIMIT = 4, 0, 4
TABLE = torch.randn(2, V + 1, V, generator=torch.Generator().manual_seed(3))  # row, previous, next


def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """A Markov chain: the state holds the number of the row, the last of V+1 rows is START."""
    (row,) = state
    return TABLE[row, tokens].log_softmax(dim=1), state  # START is -1, the last row


ROWS = (torch.tensor([0, 1]),)


def every_answer(row: int) -> list[Written]:
    """All answers of a row, finished or cut at LIMIT, best first."""
    log_probs = TABLE[row].log_softmax(dim=1)
    found = []
    for length in range(LIMIT + 1):
        for tokens in itertools.product(range(1, V), repeat=length):
            path = [*tokens, END] if length < LIMIT else list(tokens)
            pairs = zip([START, *path], path, strict=False)
            found.append(Written(list(tokens), sum(log_probs[a, b].item() for a, b in pairs)))
    return sorted(found, key=lambda one: -one.log_probability)


def texts(written: list[list[Written]]) -> list[list[list[int]]]:
    return [[one.tokens for one in row] for row in written]


def test_every_answer_of_the_oracle_sums_to_probability_one() -> None:
    for row in (0, 1):
        scores = torch.tensor([one.log_probability for one in every_answer(row)])
        assert scores.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_wide_beam_finds_exactly_the_best_answers() -> None:
    written = write(step, ROWS, END, 5, LIMIT, strategy="beam", beam_size=100)
    for row in (0, 1):
        best = every_answer(row)[:5]
        assert [one.tokens for one in written[row]] == [one.tokens for one in best]
        for one, expected in zip(written[row], best, strict=True):
            assert one.log_probability == pytest.approx(expected.log_probability, abs=1e-5)


def test_a_wide_beam_holds_all_answers_and_no_more() -> None:
    written = write(step, ROWS, END, 10_000, LIMIT)
    assert [len(row) for row in written] == [len(every_answer(0))] * 2


def test_beam_of_one_is_greedy() -> None:
    beam = write(step, ROWS, END, 1, LIMIT, strategy="beam", beam_size=1)
    greedy = write(step, ROWS, END, 1, LIMIT)
    assert texts(beam) == texts(greedy)


def test_top_k_uses_at_least_as_many_beams() -> None:
    narrow = write(step, ROWS, END, 6, LIMIT, beam_size=1)
    assert texts(narrow) == texts(write(step, ROWS, END, 6, LIMIT, strategy="beam", beam_size=6))


def test_greedy_takes_the_likeliest_token_and_scores_their_product() -> None:
    written = write(step, ROWS, END, 1, LIMIT)
    for row in (0, 1):
        log_probs, previous, tokens, total = TABLE[row].log_softmax(dim=1), START, [], 0.0
        for _ in range(LIMIT):
            token = int(log_probs[previous].argmax())
            total += log_probs[previous, token].item()
            if token == END:
                break
            tokens.append(token)
            previous = token
        assert written[row][0].tokens == tokens
        assert written[row][0].log_probability == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"strategy": "beam"}, {"strategy": "nucleus", "temperature": 1.0, "seed": 4}],
    ids=["greedy", "beam", "nucleus"],
)
def test_a_row_does_not_depend_on_its_batch(options: dict[str, object]) -> None:
    batch = write(step, ROWS, END, 1, LIMIT, **options)  # type: ignore[arg-type]
    for row in (0, 1):
        alone = write(step, (torch.tensor([row]),), END, 1, LIMIT, **options)  # type: ignore[arg-type]
        assert alone[0] == batch[row]


def test_nucleus_of_almost_no_mass_is_greedy() -> None:
    sampled = write(step, ROWS, END, 1, LIMIT, strategy="nucleus", temperature=1.0, top_p=1e-6)
    assert texts(sampled) == texts(write(step, ROWS, END, 1, LIMIT))


def test_nucleus_draws_each_token_as_often_as_its_renormalised_mass() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])

    def fixed(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        return probs.log().expand(len(tokens), -1), state

    counts = torch.zeros(4)
    for seed in range(2000):
        row = write(
            fixed,
            (torch.zeros(1),),
            3,
            1,
            1,
            strategy="nucleus",
            temperature=1.0,
            top_p=0.7,
            seed=seed,
        )
        counts[row[0][0].tokens[0]] += 1
    # 0.5 < 0.7 <= 0.8: the first two tokens are the nucleus.
    assert counts[2:].sum() == 0
    assert counts[0].item() / 2000 == pytest.approx(0.5 / 0.8, abs=0.04)


def test_temperature_sharpens_before_the_nucleus_is_cut() -> None:
    probs = torch.tensor([0.4, 0.35, 0.25])

    def fixed(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        return probs.log().expand(len(tokens), -1), state

    # 0.4 ** 100 outweighs the others by far.
    said = {
        write(fixed, (torch.zeros(1),), 2, 1, 1, strategy="nucleus", temperature=0.01, seed=seed)[
            0
        ][0].tokens[0]
        for seed in range(50)
    }
    assert said == {0}


def test_finished_rows_stop_counting() -> None:
    def fixed(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Row 0 ends at once, row 1 never."""
        scores = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
        return scores[state[0]].log(), state

    short, long = write(fixed, ROWS, END, 1, 3)
    assert short[0].tokens == []
    assert short[0].log_probability == pytest.approx(torch.tensor(0.9).log().item())
    assert long[0].tokens == [1, 1, 1]
    assert long[0].log_probability == pytest.approx(3 * torch.tensor(0.9).log().item())


def test_max_tokens_cuts_the_answer() -> None:
    for options in ({}, {"strategy": "beam"}):
        written = write(step, ROWS, END, 1, LIMIT, max_tokens=1, **options)  # type: ignore[arg-type]
        assert all(len(one.tokens) <= 1 for row in written for one in row)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beam_size", 0),
        ("temperature", 0.0),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("max_tokens", -1),
        ("length_penalty", 101.0),
    ],
)
def test_an_option_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is {value}"):
        write(step, ROWS, END, 1, LIMIT, **{name: value})  # type: ignore[arg-type]


def test_of_two_spellings_of_a_text_the_likelier_is_kept() -> None:
    rows = as_answers(
        [[Written([1, 2], -0.5), Written([3], -1.0), Written([4], -2.0)]],
        lambda tokens: "red" if tokens != [4] else "blue",
    )
    assert [one.text for one in rows[0]] == ["red", "blue"]
    assert rows[0][0].score == pytest.approx(0.6065, abs=1e-4)


def test_the_manifest_and_the_code_agree_on_the_defaults() -> None:
    inside = {"length_penalty": 0.0, "first": None}  # not offered by these heads
    declared = {name: arg.default for name, arg in DECODE.items()}
    assert declared | inside == write.__wrapped__.__kwdefaults__  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{}, {"strategy": "beam"}, {"strategy": "nucleus"}])
def test_a_first_token_given_is_the_first_token_computed(options: dict[str, Any]) -> None:
    first, state = step(torch.full((2,), START), ROWS)

    def never_at_the_start(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        assert (tokens != START).all()
        return step(tokens, state)

    given = write(never_at_the_start, state, END, 1, LIMIT, first=first, **options)
    assert given == write(step, ROWS, END, 1, LIMIT, **options)


def test_length_penalty_ranks_by_the_mean_and_reports_the_sum() -> None:
    penalised = write(step, ROWS, END, 5, LIMIT, beam_size=100, length_penalty=1.0)
    for row in (0, 1):
        every = every_answer(row)
        best = sorted(every, key=lambda one: -one.log_probability / min(len(one.tokens) + 1, LIMIT))
        assert [one.tokens for one in penalised[row]] == [one.tokens for one in best[:5]]
        for one, expected in zip(penalised[row], best, strict=False):
            assert one.log_probability == pytest.approx(expected.log_probability, abs=1e-5)


# ---- against transformers --------------------------------------------------------------------

WORDS, STOP, LENGTH = 12, 1, 8


def small_gpt2(seed: int) -> Any:
    """A GPT-2 of random weights so wide that its answers differ."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=32,
        bos_token_id=STOP,
        eos_token_id=STOP,
        initializer_range=0.6,
    )
    return transformers.GPT2LMHeadModel(config).eval()


def without_cache(model: Any) -> Any:
    """A writer whose state is what was written so far."""

    def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        written = torch.cat([state[0], tokens[:, None]], dim=1)  # (B, T)
        return model(written).logits[:, -1].log_softmax(dim=1), (written,)

    return step


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -1.0, 0.6, 2.5])
@pytest.mark.parametrize("beams", [2, 3, 5])
def test_beams_are_those_of_transformers(beams: int, length_penalty: float) -> None:
    """Of several rows at once, and of all K answers, whenever each of them ends."""
    lengths = set()
    for seed in range(8):
        model = small_gpt2(seed)
        prompt = torch.randint(2, WORDS, (3, 2), generator=torch.Generator().manual_seed(seed))
        said = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            num_beams=beams,
            do_sample=False,
            num_return_sequences=beams,
            length_penalty=length_penalty,
            max_new_tokens=LENGTH,
            early_stopping=False,
            pad_token_id=STOP,
        )[:, 2:].tolist()
        first = model(prompt).logits[:, -1].log_softmax(dim=1)
        written = write(
            without_cache(model),
            (prompt,),
            STOP,
            beams,
            LENGTH,
            first=first,
            beam_size=beams,
            strategy="beam",
            length_penalty=length_penalty,
        )
        found = [one.tokens for row in written for one in row]
        assert found == [row[: row.index(STOP)] if STOP in row else row for row in said], seed
        lengths |= {len(tokens) for tokens in found}
    assert len(lengths) > 1


def chain(*rows: list[float]) -> tuple[Step, State]:
    """A chain of tokens, whose probabilities after each token and at the start are those rows."""
    table = torch.tensor(rows).log()
    return lambda tokens, state: (table[tokens], state), (torch.zeros(1),)


EVEN = [1 / 6] * 6


def test_of_several_ends_none_takes_the_place_of_an_answer_that_goes_on() -> None:
    """Three of the likeliest four tokens end; still both answers that go on are kept."""
    after_3, after_4 = [0.9, *[0.02] * 5], [0.95, *[0.01] * 5]
    start = [0.3, 0.25, 0.2, 0.14, 0.1, 0.01]
    written = write(
        *chain(EVEN, EVEN, EVEN, after_3, after_4, EVEN, start),
        0,
        2,
        3,
        strategy="beam",
        beam_size=2,
        length_penalty=2.0,
        early_stopping="never",
        eos_token_ids=[0, 1, 2],
    )
    # log(0.14 * 0.9) / 4 = -0.52, log(0.1 * 0.95) / 4 = -0.59, log(0.3) = -1.2
    assert texts(written) == [[[3], [4]]]


@pytest.mark.parametrize(
    ("early_stopping", "expected"), [("true", [[3], []]), ("false", [[3, 4], [3]])]
)
def test_early_stopping_takes_the_first_answers_that_are_finished(
    early_stopping: str, expected: list[list[int]]
) -> None:
    """log(0.4 * 0.5) / 4 = -0.40, log(0.3) = -1.2; later log(0.4 * 0.3 * 0.95) / 9 = -0.24."""
    after_3, after_4 = [0.5, 0.05, 0.05, 0.05, 0.3, 0.05], [0.95, *[0.01] * 5]
    start = [0.3, 0.1, 0.1, 0.4, 0.05, 0.05]
    written = write(
        *chain(EVEN, EVEN, EVEN, after_3, after_4, EVEN, start),
        0,
        2,
        3,
        strategy="beam",
        beam_size=2,
        length_penalty=2.0,
        early_stopping=early_stopping,
    )
    assert texts(written) == [expected]
