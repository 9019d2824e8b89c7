"""The GRU head: its word list, the context at every step, smoothing in training only."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.support.toy import example, fit, fused, make_head
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError
from vqazoo.toolkit.decoding import START
from vqazoo_heads.gru import BOS, EOS, PAD, UNK

TEXTS = ("dark blue", "blue", "don't know")


def test_words_stand_after_the_four_special_ones_in_alphabetical_order() -> None:
    head = make_head("gru", TEXTS)
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert head.words == (
        "<pad>",
        "<bos>",
        "<eos>",
        "<unk>",
        "blue",
        "dark",
        "don't",
        "know",
    )


def test_rare_words_are_unknown() -> None:
    answers = AnswerList(("red car", "red bus", "van"), (1, 1, 1))
    assert make_head("gru", answers).words[4:] == ("red",)  # twice in all
    assert make_head("gru", answers, min_count=1).words[4:] == ("bus", "car", "red", "van")


def test_a_list_without_counts_keeps_all_its_words() -> None:
    assert make_head("gru", AnswerList(("a b", "c"), (0, 0))).words[4:] == ("a", "b", "c")


def test_no_word_at_all_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"all 2 words.*min_count=1"):
        make_head("gru", AnswerList(("a", "b"), (1, 1)))


def test_targets_are_shifted_with_unknown_words_marked() -> None:
    head = make_head("gru", TEXTS)
    blue, dark = head.words.index("blue"), head.words.index("dark")
    targets = head.targets([example("Dark blue"), example("zebra")])
    assert targets["inputs"].tolist() == [[BOS, dark, blue], [BOS, UNK, PAD]]
    assert targets["outputs"].tolist() == [[dark, blue, EOS], [UNK, EOS, PAD]]
    assert targets["length"].tolist() == [3, 2]


def test_logits_are_those_of_a_gru_over_embedding_and_context() -> None:
    head, features = make_head("gru", TEXTS, dim=256), fused(2, 256)
    ids = torch.tensor([[BOS, 4, 5], [BOS, 6, 7]])
    cell = nn.GRUCell(512, 256)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: getattr(head.gru, f"{name}_l0") for name in names})
    hidden = torch.zeros(2, 256)
    for place in range(3):
        x = torch.cat([head.embedding(ids[:, place]), features.pooled], dim=1)
        hidden = cell(x, hidden)
        normed = F.layer_norm(hidden, (256,), head.norm.weight, head.norm.bias)
        expected = normed @ head.output.weight.T + head.output.bias
        found = head.word_logits(features.pooled, ids)[:, place]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_stepwise_writing_gives_teacher_forcing_without_the_unwritable_words() -> None:
    head, features = make_head("gru", TEXTS, dim=256), fused(2, 256)
    words = torch.tensor([[5, 4], [6, 7]])
    ids = torch.cat([torch.full((2, 1), BOS), words], dim=1)
    logits = head.word_logits(features.pooled, ids)
    logits[:, :, [PAD, BOS, UNK]] = -torch.inf
    forced = logits.log_softmax(dim=2)
    state = (features.pooled, torch.zeros(2, 256))
    tokens = torch.full((2,), START)
    for place in range(3):
        log_probs, state = head.step(tokens, state)
        torch.testing.assert_close(log_probs, forced[:, place], atol=1e-5, rtol=1e-5)
        if place < 2:
            tokens = words[:, place]


def test_the_context_enters_at_every_step() -> None:
    head = make_head("gru", TEXTS, dim=256)
    state = (fused(1, 256).pooled, torch.zeros(1, 256))
    one, _ = head.step(torch.tensor([4]), state)
    other, _ = head.step(torch.tensor([4]), (fused(1, 256, seed=9).pooled, state[1]))
    assert (one - other)[:, 4:].abs().max() > 1e-3


def test_loss_is_smoothed_in_training_only_and_ignores_padding() -> None:
    head, features = make_head("gru", TEXTS), fused(2, 16)
    targets = head.targets([example("dark blue"), example("blue")])
    logits = head.word_logits(head.project(features.pooled), targets["inputs"])
    real = torch.tensor([[True, True, True], [True, True, False]])
    rows, truth = logits[real], targets["outputs"][real]
    log_probs = rows.log_softmax(dim=1)
    plain = -log_probs.gather(1, truth[:, None]).mean()
    uniform = -log_probs.mean()
    assert head.loss(features, targets)[0].item() == pytest.approx(plain.item(), abs=1e-5)
    head.train()
    smoothed = (0.9 * plain + 0.1 * uniform).item()
    assert head.loss(features, targets)[0].item() == pytest.approx(smoothed, abs=1e-5)


def test_published_sizes_are_the_defaults() -> None:
    head = make_head("gru", TEXTS, dim=256)
    size = len(head.words)
    assert isinstance(head.project, nn.Identity)
    shapes = [tuple(p.shape) for p in head.parameters() if p.dim() == 2]
    assert shapes == [(size, 256), (768, 512), (768, 256), (size, 256)]


def test_an_apostrophe_comes_back_whole() -> None:
    head, features = make_head("gru", TEXTS), fused(3, 16)
    fit(head, features, [example(text) for text in TEXTS])
    assert head.predict(features)[2][0].text == "don't know"


def test_special_words_are_never_written() -> None:
    head, features = make_head("gru", TEXTS), fused(3, 16)
    fit(head, features, [example("zebra")] * 3)  # learns to say <unk>
    said = {one.text for row in head.predict(features, top_k=5) for one in row}
    assert not any("<" in text for text in said)
