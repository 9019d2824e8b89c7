"""Heads that borrow a language model: what they score, learn, write, rank and refuse."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from torch.nn import functional as F

from tests.plugins.language_models import tiny
from tests.support.toy import fit
from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, IncompatibleError, QuestionError
from vqazoo.interfaces import Features, FusedSpec
from vqazoo.registry import registry
from vqazoo.testing import check_head, toy_encoder

TEXTS = ("yes", "no", "red", "blue", "dark blue")


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Text towers by family, built once."""
    made = {}
    for family in ("distilbert", "bert", "gpt2", "opt", "t5", "bart"):
        folder = tiny.save(tmp_path_factory.mktemp("towers") / family, family)
        encoder = registry.build("encoder", f"hf-lm:{folder}", str(folder), frozenset({"text"}))
        encoder.load_pretrained()
        encoder.requires_grad_(False)
        made[family] = encoder.eval()
    return made


def build(name, tower, answers=TEXTS, dim=32, **args):
    known = AnswerList(tuple(answers), (2,) * len(answers))
    torch.manual_seed(0)
    return registry.build("head", name, FusedSpec("tokens", dim), known, tower, **args).eval()


def fused(rows: int = 5, count: int = 6, dim: int = 32, seed: int = 0) -> Features:
    """Tokens with a gap in row 1 and padding in row 2."""
    x = torch.randn(rows, count, dim, generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(rows, count, dtype=torch.bool)
    mask[1:2, 2:4] = False
    mask[2:3, 3:] = False
    return Features(tokens=torch.where(mask[:, :, None], x, 1e4), mask=mask)


def example(*targets: tuple[str, float]) -> Example:
    answers = tuple(text for text, _ in targets)
    return Example(Path("image.png"), "what?", answers, "1", targets=targets)


def examples(texts=TEXTS) -> list[Example]:
    return [example((text, 1.0)) for text in texts]


@pytest.mark.parametrize("read", ["last", "first", "mean"])
@pytest.mark.parametrize("dim", [32, 24])
def test_the_classifier_keeps_the_contract(towers, read, dim):
    check_head("lm-classifier", dim=dim, text_encoder=towers["distilbert"], read=read)


def test_the_classifier_also_reads_with_the_encoder_of_t5(towers):
    check_head("lm-classifier", dim=24, text_encoder=towers["t5"])


@pytest.mark.proof
@pytest.mark.parametrize("family", ["gpt2", "bart"])
def test_the_writer_keeps_the_contract(towers, family):
    check_head("lm-generate", dim=24, text_encoder=towers[family])


# ---- lm-classifier ----------------------------------------------------------------------------


@torch.no_grad()
def test_the_classifier_reads_one_state_through_a_layer_without_bias(towers):
    model, given = towers["distilbert"].lend("language_model"), fused()
    states = model.states(given.tokens, given.mask)
    real = given.mask[:, :, None]
    wanted = {
        "last": states[torch.arange(5), [5, 5, 2, 5, 5]],  # row 2 ends early
        "first": states[:, 0],
        "mean": (states * real).sum(1) / real.sum(1),
    }
    for read, state in wanted.items():
        head = build("lm-classifier", towers["distilbert"], read=read)
        assert {name for name, _ in head.named_parameters()} == {"output.weight"}
        torch.testing.assert_close(head.logits(given), state @ head.output.weight.T)


def test_at_the_published_sizes_the_head_has_the_published_count():
    """Linear(768 -> 30,522) without bias: 23,440,896."""
    from vqazoo_hf.language_model import HFLanguageModel
    from vqazoo_hf.language_tower import LanguageTower

    class Tokenizer:
        model_max_length, sep_token_id, eos_token_id, cls_token_id = 512, 102, None, 101
        bos_token_id, pad_token_id = None, 0

        def __call__(self, texts, **options):
            count = [1] * len(texts) if isinstance(texts, list) else 1
            ids = [[7]] * len(count) if isinstance(count, list) else [101, 102]
            return {"input_ids": ids}

        def tokenize(self, text):
            return ["a"]

        def __len__(self):
            return 30_522

    config = transformers.DistilBertConfig(n_layers=1, hidden_dim=8)
    tower = LanguageTower(HFLanguageModel.from_config(config), Tokenizer(), prompt="{}", end="")
    head = build("lm-classifier", tower, ["yes"], dim=768, full_vocabulary=True)
    assert sum(p.numel() for p in head.parameters()) == 23_440_896


def test_weighted_targets_and_smoothing_are_those_of_the_other_classifiers(towers):
    head = build("lm-classifier", towers["distilbert"], label_smoothing=0.2)
    head.training = True  # labels are smoothed in training only; dropout stays off
    targets = head.targets([example(("red", 0.6), ("zebra", 0.3), ("no", 0.2))])
    log_probs = head.logits(fused(1, 3)).log_softmax(1)[0]
    wanted = -(0.75 * log_probs[2] + 0.25 * log_probs[1])
    loss, _ = head.loss(fused(1, 3), targets)
    torch.testing.assert_close(loss, 0.8 * wanted - 0.2 * log_probs.mean())


def test_the_full_vocabulary_learns_answers_of_one_piece_and_counts_the_others(towers):
    tower = towers["distilbert"]
    head = build("lm-classifier", tower, full_vocabulary=True)
    assert head.output.out_features == 96
    asked = [*examples(), example(("zebra", 1.0)), example(("dark blue", 0.5), ("red", 0.5))]
    with pytest.warns(UserWarning, match="2 of 7 questions have no answer of exactly one word pie"):
        targets = head.targets(asked)
    (red,) = tower.pieces(["red"])[0]
    assert targets["answer"][2, 0] == red
    assert targets["answer"][6].tolist() == [red, -1]
    assert targets["weight"][6].tolist() == [1, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head.targets(examples(TEXTS[:4]))
    given = fused(4)
    fit(head, given, examples(TEXTS[:4]))
    assert [row[0].text for row in head.predict(given)] == list(TEXTS[:4])
    assert len(head.predict(given, 9)[0]) == 9  # pieces that are no known answer, too
    with pytest.raises(ConfigError, match="None of the 1 answers is exactly one word piece"):
        build("lm-classifier", tower, ["dark blue"], full_vocabulary=True)


def test_gradients_pass_through_a_frozen_language_model_into_the_fusion(towers):
    for name, family in (
        ("lm-classifier", "distilbert"),
        ("lm-generate", "opt"),
        ("lm-generate", "t5"),
    ):
        head, given = build(name, towers[family]), fused()
        given.tokens.requires_grad_()
        head.loss(given, head.targets(examples()))[0].backward()
        moved = given.tokens.grad.abs().amax(2) > 0
        assert torch.equal(moved, given.mask), f"{name} on {family}"
        assert all(p.grad is None for p in towers[family].parameters())


@pytest.mark.parametrize(("name", "family"), [("lm-classifier", "bert"), ("lm-generate", "gpt2")])
def test_a_language_model_that_trains_gets_gradients(tmp_path, name, family):
    folder = tiny.save(tmp_path, family)
    tower = registry.build("encoder", f"hf-lm:{folder}", str(folder), frozenset({"text"}))
    head = build(name, tower)
    head.loss(fused(), head.targets(examples()))[0].backward()
    layers = [p for n, p in tower.named_parameters() if ".layer." in n or ".h." in n]
    assert len(layers) > 8
    assert all(p.grad is not None for p in layers)


# ---- lm-generate ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "opt", "t5", "bart"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_transformers_over_answer_and_end_only(towers, family, smoothing):
    head = build("lm-generate", towers[family], label_smoothing=smoothing)
    given, tower = fused(), towers[family]
    head.training = True  # labels are smoothed in training only; dropout stays off
    loss, _ = head.loss(given, head.targets(examples()))
    model = tower.lend("language_model").model
    scores, labels = [], []
    for row, text in enumerate(TEXTS):
        answer = torch.tensor([[*tower.pieces([text])[0], tower.end_id]])
        prompt = given.tokens[row, given.mask[row]][None]
        if model.config.is_encoder_decoder:
            out = model(inputs_embeds=prompt, labels=answer).logits[0]
        else:
            whole = torch.cat([prompt, model.get_input_embeddings()(answer)], 1)
            out = model(inputs_embeds=whole).logits[0, prompt.shape[1] - 1 : -1]
        scores.append(out)
        labels.append(answer[0])
    wanted = F.cross_entropy(torch.cat(scores), torch.cat(labels), label_smoothing=smoothing)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@torch.no_grad()
def test_rank_is_the_product_of_token_probabilities_one_candidate_at_a_time(
    towers, family, monkeypatch
):
    monkeypatch.setattr("vqazoo.toolkit.scoring.ROWS", 3)
    tower, given = towers[family], fused()
    head, model = build("lm-generate", tower), tower.lend("language_model")
    candidates = ["blue circle", "yes", "a", "what is this", "no", "", "red red"]
    found = head.rank(given, candidates, top_k=7)
    for row in range(5):
        wanted = {}
        for text in candidates:
            answer = torch.tensor([[*tower.pieces([text])[0], tower.end_id]])
            alone = given.index(torch.tensor([row]))
            log_probs = model.logits(alone.tokens, alone.mask, answer).log_softmax(2)
            wanted[text] = float(log_probs.gather(2, answer[:, :, None]).sum())
        order = sorted(candidates, key=lambda text: -wanted[text])
        assert [one.text for one in found[row]] == order
        for one in found[row]:
            assert math.log(max(one.score, 1e-300)) == pytest.approx(wanted[one.text], 1e-6, 1e-5)
    assert head.rank(given, candidates, top_k=2) == [row[:2] for row in found]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_it_learns_to_write_and_to_rank(tmp_path, family):
    folder = tiny.save(tmp_path, family)
    torch.manual_seed(0)
    tower = registry.build("encoder", f"hf-lm:{folder}", str(folder), frozenset({"text"}))
    tower.eval()  # without dropout
    texts = ("yes", "no", "red", "blue", "blue circle")
    head, given = build("lm-generate", tower, texts), fused()
    optimiser = torch.optim.Adam(tower.parameters(), lr=1e-2)
    targets = head.targets(examples(texts))
    for _ in range(60):
        optimiser.zero_grad()
        head.loss(given, targets)[0].backward()
        optimiser.step()
    for options in ({}, {"strategy": "beam"}, {"strategy": "beam", "length_penalty": -1.0}):
        with torch.no_grad():
            assert [row[0].text for row in head.predict(given, **options)] == list(texts)
    with torch.no_grad():
        ranked = head.rank(given, texts)
        written = head.predict(given)
    assert [row[0].text for row in ranked] == list(texts)
    for one, other in zip(ranked, written, strict=True):
        assert one[0].score == pytest.approx(other[0].score, abs=1e-4)


def test_it_takes_an_empty_answer_list(towers):
    head = build("lm-generate", towers["opt"], ())
    with torch.no_grad():
        (row,) = head.predict(fused(1, 4), max_tokens=3)
    assert isinstance(row[0].text, str)


def test_max_tokens_bounds_what_is_written_and_learnt(towers):
    head = build("lm-generate", towers["opt"], (), max_tokens=4)
    calls = []
    model = towers["opt"].lend("language_model")
    step = model.step

    def counted(*args):
        calls.append(1)
        return step(*args)

    head._borrowed[0].step = counted
    try:
        with torch.no_grad():
            head.predict(fused())
            assert len(calls) <= 3
            before = len(calls)
            head.predict(fused(), max_tokens=2)
            assert len(calls) - before <= 1
    finally:
        del head._borrowed[0].step
    with pytest.raises(ConfigError, match=r"'dark blue' has 11 tokens.*max_tokens=11 or more"):
        build("lm-generate", towers["opt"], max_tokens=6)
    with pytest.raises(ConfigError, match="'yes' has 5 tokens"):
        head.targets(examples())


@torch.no_grad()
def test_a_prompt_without_room_for_the_answer_is_refused_before_anything_is_written(towers):
    head, long = build("lm-generate", towers["gpt2"]), fused(3, 40)
    with pytest.raises(QuestionError, match=r"has 40 tokens and the answer up to 20.*at most 48"):
        head.predict(long)
    head.predict(long, max_tokens=8)
    with pytest.raises(QuestionError, match="has 40 tokens and the answer up to 9"):
        head.rank(long, ["red", "1234567"])
    build("lm-generate", towers["t5"]).predict(long)  # distances, so any length


# ---- what is refused --------------------------------------------------------------------------


def test_a_text_encoder_that_lends_no_language_model_is_refused():
    for name in ("lm-classifier", "lm-generate"):
        with pytest.raises(IncompatibleError, match=r"lends none: name one with --text-encoder"):
            build(name, toy_encoder())


def test_the_wrong_kind_of_language_model_is_refused(towers):
    with pytest.raises(IncompatibleError, match="only reads: use the head lm-classifier"):
        build("lm-generate", towers["distilbert"])
    with pytest.raises(IncompatibleError, match=r"in both directions.* use the head lm-gen"):
        build("lm-classifier", towers["gpt2"])
