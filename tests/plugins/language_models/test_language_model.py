"""A wrapped language model scores, writes and reads exactly as transformers' own classes do."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers.masking_utils import create_bidirectional_mask

from tests.plugins.language_models import tiny
from vqazoo.errors import IncompatibleError, QuestionError
from vqazoo.toolkit.decoding import write
from vqazoo_hf.language_model import HFLanguageModel

WRITERS = (*tiny.DECODERS, *tiny.BOTH)
# padding behind, a gap as between a padded question and a picture, and a row without either
MASK = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 1, 1], [1] * 7]).bool()
END = 95


def prompts(seed: int = 0) -> torch.Tensor:
    """Prompt embeddings (3, 7, 32); what is masked is huge, so that a leak is seen."""
    x = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(seed))
    return torch.where(MASK[:, :, None], x, 1e4)


def alone(x: torch.Tensor, row: int) -> torch.Tensor:
    return x[row, MASK[row]][None]


def begin(model) -> torch.Tensor:
    return torch.tensor([[model.config.decoder_start_token_id]])


def transformers_scores(model, prompt: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Scores (1, T, V) of an answer (1, T) by the model's own forward, nothing padded."""
    if model.config.is_encoder_decoder:
        given = torch.cat([begin(model), answer[:, :-1]], 1)
        return model(inputs_embeds=prompt, decoder_input_ids=given).logits
    words = model.get_input_embeddings()(answer)
    scores = model(inputs_embeds=torch.cat([prompt, words], 1)).logits
    return scores[:, prompt.shape[1] - 1 : -1]


@pytest.mark.parametrize("family", WRITERS)
@torch.no_grad()
def test_a_padded_row_is_scored_as_transformers_scores_it_alone(family):
    model = tiny.model(family)
    answer = torch.randint(2, 90, (3, 4), generator=torch.Generator().manual_seed(1))
    scores = HFLanguageModel(model).logits(prompts(), MASK, answer)
    assert scores.shape == (3, 4, 96)
    for row in range(3):
        wanted = transformers_scores(model, alone(prompts(), row), answer[row : row + 1])
        torch.testing.assert_close(scores[row : row + 1], wanted, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("error::FutureWarning")  # of names that transformers gives up
@pytest.mark.parametrize("family", WRITERS)
@torch.no_grad()
def test_step_by_step_scores_are_those_of_the_whole_answer_at_once(family):
    lm = HFLanguageModel(tiny.model(family))
    answer = torch.randint(2, 90, (3, 5), generator=torch.Generator().manual_seed(1))
    whole = lm.logits(prompts(), MASK, answer).log_softmax(2)
    log_probs, state = lm.start(prompts(), MASK)
    torch.testing.assert_close(log_probs, whole[:, 0], rtol=0, atol=1e-5)
    swap = torch.tensor([2, 0, 1])  # as beam search reorders
    answer, whole, state = answer[swap], whole[swap], tuple(part[swap] for part in state)
    for place in range(4):
        log_probs, state = lm.step(answer[:, place], state)
        torch.testing.assert_close(log_probs, whole[:, place + 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "greedy"},
        {"strategy": "beam", "beam_size": 3},
        {"strategy": "beam", "beam_size": 4, "length_penalty": -1.0},
    ],
    ids=["greedy", "beam", "beam-short"],
)
def test_a_batch_writes_what_transformers_generates_row_by_row(family, options):
    lengths = set()
    for seed in range(4):
        model = tiny.model(family, seed)
        lm, x = HFLanguageModel(model), prompts(seed)
        with torch.no_grad():
            first, state = lm.start(x, MASK)
        end = write(lm.step, state, END, 1, 8, first=first)[0][0].tokens[2]  # so some end early
        found = write(lm.step, state, end, 1, 8, first=first, **options)
        for row in range(3):
            settings = (
                {}
                if options["strategy"] == "greedy"
                else {
                    "num_beams": options["beam_size"],
                    "length_penalty": options.get("length_penalty", 0.0),
                }
            )
            prompt = alone(x, row)
            (ids,) = model.generate(
                inputs_embeds=prompt,
                attention_mask=torch.ones(prompt.shape[:2]).long(),
                max_new_tokens=8,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=0,
                **settings,
            ).tolist()
            ids = ids[1:] if model.config.is_encoder_decoder else ids
            wanted = ids[: ids.index(end)] if end in ids else ids
            assert found[row][0].tokens == wanted
            lengths.add(len(wanted))
    assert len(lengths) > 1, "no answer ended early, so the end token was not tested"


@pytest.mark.parametrize("family", [*tiny.ENCODERS, *tiny.BOTH])
@torch.no_grad()
def test_states_are_those_of_transformers_and_zero_where_nothing_is_real(family):
    model = tiny.model(family)
    reader = model.get_encoder() if model.config.is_encoder_decoder else model
    states = HFLanguageModel(model).states(prompts(), MASK)
    assert states.shape == (3, 7, 32)
    assert not states[~MASK].any()
    for row in range(3):
        wanted = reader(inputs_embeds=alone(prompts(), row)).last_hidden_state[0]
        torch.testing.assert_close(states[row, MASK[row]], wanted, rtol=0, atol=1e-5)


# ---- the wirings of imageqa, from DistilBERT's submodules ------------------------------------

IDS = torch.tensor([[2, 5, 6, 7, 3, 0], [2, 8, 3, 0, 0, 0]])
QUESTION = IDS != 0
PICTURE = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(3))
WHOLE = torch.cat([QUESTION, torch.ones(2, 4).bool()], 1)


def distilbert_layers(model, x: torch.Tensor) -> torch.Tensor:
    """x (B, S, D), mask WHOLE, through every layer and nothing else."""
    mask = create_bidirectional_mask(model.config, x, WHOLE.long())
    return model.transformer(x, attention_mask=mask).last_hidden_state


def placed(model, words: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Positions added, then LayerNorm, by DistilBERT's own modules."""
    embeddings = model.embeddings
    return embeddings.LayerNorm(words + embeddings.position_embeddings(places))


@torch.no_grad()
def test_positions_words_is_the_original_of_2022():
    """Words: embedding, position, LayerNorm, once; image tokens: as the mapping made them."""
    model = tiny.model("distilbert")
    words = placed(model, model.embeddings.word_embeddings(IDS), torch.arange(6))
    wanted = distilbert_layers(model, torch.cat([words, PICTURE], 1))
    lm = HFLanguageModel(model, "words")
    found = lm.states(torch.cat([lm.question(IDS), PICTURE], 1), WHOLE)
    torch.testing.assert_close(found[WHOLE], wanted[WHOLE], rtol=0, atol=1e-5)


@torch.no_grad()
def test_positions_sequence_places_every_real_token_once():
    model = tiny.model("distilbert")
    words = model.embeddings.word_embeddings(IDS)
    places = (WHOLE.long().cumsum(1) - 1).clamp(min=0)  # padding takes no place
    wanted = distilbert_layers(model, placed(model, torch.cat([words, PICTURE], 1), places))
    lm = HFLanguageModel(model, "sequence")
    found = lm.states(torch.cat([lm.question(IDS), PICTURE], 1), WHOLE)
    torch.testing.assert_close(found[WHOLE], wanted[WHOLE], rtol=0, atol=1e-5)


@torch.no_grad()
def test_positions_twice_is_the_original_code_on_transformers_of_today():
    model = tiny.model("distilbert")
    whole, question = WHOLE[:1, [0, 1, 2, 3, 4, 6, 7, 8, 9]], IDS[:1, :5]  # a row without padding
    joined = torch.cat([model.embeddings(question), PICTURE[:1]], 1)
    wanted = model(inputs_embeds=joined, attention_mask=whole.long()).last_hidden_state
    lm = HFLanguageModel(model, "twice")
    found = lm.states(torch.cat([lm.question(question), PICTURE[:1]], 1), whole)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", tiny.ENCODERS)
@torch.no_grad()
def test_without_a_picture_words_and_sequence_are_the_model_itself(family):
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    wanted = tiny.model(family)(input_ids=ids).last_hidden_state
    mask = torch.ones_like(ids).bool()
    for positions in ("words", "sequence"):
        lm = HFLanguageModel(tiny.model(family), positions)
        found = lm.states(lm.question(ids), mask)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


# ---- doors, precision, bad input --------------------------------------------------------------


@torch.no_grad()
def test_a_half_precision_model_takes_float32_prompts_and_scores_in_float32():
    lm = HFLanguageModel(tiny.model("opt").bfloat16())
    log_probs, state = lm.start(prompts(), MASK)
    log_probs, _ = lm.step(log_probs.argmax(1), state)
    assert log_probs.dtype == torch.float32
    assert state[1].dtype == torch.bfloat16
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(3), rtol=0, atol=1e-4)


def test_a_blip2_config_gives_its_language_model():
    config = transformers.Blip2Config(text_config=tiny.config("opt").to_dict())
    lm = HFLanguageModel.from_config(config)
    assert isinstance(lm.model, transformers.OPTForCausalLM)
    assert (lm.kind, lm.dim, lm.vocab_size, lm.context_length) == ("decoder", 32, 96, 48)


@pytest.mark.parametrize(
    ("family", "kind", "longest"),
    [
        ("distilbert", "encoder", 48),
        ("roberta", "encoder", 48),
        ("gpt2", "decoder", 48),
        ("t5", "encoder-decoder", None),
        ("bloom", "decoder", None),
    ],
)
def test_kind_and_longest_sequence_are_told_from_the_config(family, kind, longest):
    lm = HFLanguageModel.from_config(tiny.config(family))
    assert (lm.kind, lm.context_length) == (kind, longest)


def test_what_is_no_language_model_is_refused():
    with pytest.raises(IncompatibleError, match="'vit' model is no language model"):
        HFLanguageModel.from_config(transformers.ViTConfig())
    narrow = transformers.ElectraConfig(embedding_size=16, hidden_size=32, num_attention_heads=2)
    with pytest.raises(IncompatibleError, match="word embeddings of width 16, but states of width"):
        HFLanguageModel.from_config(narrow)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "bart", "distilbert", "roberta"])
@torch.no_grad()
def test_a_sequence_beyond_the_context_is_a_question_error(family):
    lm = HFLanguageModel(tiny.model(family))
    long, mask = torch.zeros(2, 49, 32), torch.ones(2, 49).bool()
    mask[0, 10:] = False
    read = lm.states if lm.kind == "encoder" else lm.start
    with pytest.raises(QuestionError, match=r"have 49 tokens together.* reads at most 48"):
        read(long, mask)
    mask[1, 48] = False  # now it fits, padding does not count
    read(long, mask)


@pytest.mark.parametrize("family", ["gpt2", "opt"])
@torch.no_grad()
def test_an_answer_that_runs_out_of_positions_is_a_question_error(family):
    lm = HFLanguageModel(tiny.model(family))
    prompt, mask = torch.zeros(1, 47, 32), torch.ones(1, 47).bool()
    answer = torch.full((1, 3), 5)
    lm.logits(prompt, mask, answer[:, :2])
    with pytest.raises(QuestionError, match="have 49 tokens together"):
        lm.logits(prompt, mask, answer)
    _, state = lm.step(answer[:, 0], lm.start(prompt, mask)[1])
    with pytest.raises(QuestionError, match="have 49 tokens together"):
        lm.step(answer[:, 0], state)


@torch.no_grad()
def test_a_reader_does_not_write_and_a_writer_has_no_states():
    reader, writer = HFLanguageModel(tiny.model("bert")), HFLanguageModel(tiny.model("gpt2"))
    with pytest.raises(IncompatibleError, match="reads but does not write: use the head lm-class"):
        reader.logits(prompts(), MASK, torch.zeros(3, 2).long())
    with pytest.raises(IncompatibleError, match="reads but does not write"):
        reader.start(prompts(), MASK)
    with pytest.raises(IncompatibleError, match="gives no states: use the head lm-generate"):
        writer.states(prompts(), MASK)


@pytest.mark.parametrize("family", tiny.ENCODERS)
@torch.no_grad()
def test_a_model_that_was_wrapped_is_left_as_it_was(family):
    """A forward hook once stayed on the model of whoever wrapped it, for all its later calls."""
    model = tiny.model(family)
    ids, embedded = torch.tensor([[2, 5, 6, 7, 3]]), torch.randn(1, 5, 32)
    wanted = model(inputs_embeds=embedded).last_hidden_state
    mask = torch.ones_like(ids).bool()
    placed_once = HFLanguageModel(tiny.model(family), "sequence").states(embedded, mask)
    words, sequence = HFLanguageModel(model, "words"), HFLanguageModel(model, "sequence")
    given = words.states(embedded, mask)
    assert not torch.allclose(given, placed_once, atol=1e-3)
    torch.testing.assert_close(sequence.states(embedded, mask), placed_once)
    torch.testing.assert_close(words.states(embedded, mask), given)
    torch.testing.assert_close(model(inputs_embeds=embedded).last_hidden_state, wanted)
    assert not [name for name, part in model.named_modules() if part._forward_hooks]
