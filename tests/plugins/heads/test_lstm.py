"""The LSTM head: sizes, what it borrows, teacher forcing against stepwise writing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.support.toy import example, fit, fused, make_head
from vqazoo.interfaces import FusedSpec, TowerSpec
from vqazoo.registry import registry
from vqazoo.testing import toy_encoder
from vqazoo.toolkit.decoding import START

TEXTS = ("yes", "no", "dark blue", "wow!")


def trainable(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)


def test_full_vocabulary_on_clip_vit_b_32_has_the_published_parameter_count() -> None:
    encoder = toy_encoder(width=512, vocabulary=49_408)
    fusion = registry.build("fusion", "concat", TowerSpec(512, None), TowerSpec(512, None))
    head = make_head("lstm", TEXTS, 512, encoder, full_vocabulary=True)
    assert fusion.out == FusedSpec("pooled", 512)
    assert trainable(head.lstm) == 2_101_248
    assert trainable(head.output) == 25_346_304
    assert trainable(fusion, head) == 27_972_352


def test_output_is_limited_to_tokens_that_answers_use() -> None:
    encoder = toy_encoder()
    head = make_head("lstm", TEXTS, encoder=encoder)
    assert head.token_ids.tolist() == sorted({*"".join(TEXTS).encode(), encoder.end_id})
    assert head.token_ids.dtype == torch.int64
    assert "token_ids" in head.state_dict()


def test_the_embedding_is_neither_saved_nor_trained() -> None:
    encoder = toy_encoder()
    before = encoder.token_embedding.weight.clone()
    head = make_head("lstm", TEXTS, encoder=encoder)
    assert not any("embedding" in name for name in head.state_dict())
    fit(head, fused(4, 16), [example(text) for text in TEXTS], steps=3)
    assert torch.equal(encoder.token_embedding.weight, before)


def test_a_projection_stands_in_front_only_if_widths_differ() -> None:
    assert isinstance(make_head("lstm", TEXTS, dim=16).project, nn.Identity)
    assert make_head("lstm", TEXTS, dim=20).project.weight.shape == (16, 20)


def test_logits_are_those_of_an_lstm_over_embedding_times_context() -> None:
    encoder = toy_encoder()
    head, features = make_head("lstm", TEXTS, encoder=encoder), fused(2, 16)
    ids = torch.tensor([[256, 110, 111], [256, 121, 101]])
    cell = nn.LSTMCell(16, 512)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: getattr(head.lstm, f"{name}_l0") for name in names})
    hidden = memory = torch.zeros(2, 512)
    for place in range(3):
        x = encoder.token_embedding(ids[:, place])
        x = x / x.square().mean(dim=1, keepdim=True).sqrt() * features.pooled
        hidden, memory = cell(x, (hidden, memory))
        expected = hidden @ head.output.weight.T + head.output.bias
        found = head.token_logits(head.context(features), ids)[:, place]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_stepwise_writing_gives_the_logits_of_teacher_forcing() -> None:
    head, features = make_head("lstm", TEXTS), fused(3, 16)
    numbers = torch.tensor([[0, 3, 1], [2, 2, 4], [5, 1, 0]])  # output numbers
    ids = torch.cat([torch.full((3, 1), 256), head.token_ids[numbers]], dim=1)
    forced = head.token_logits(head.context(features), ids).log_softmax(dim=2)
    zeros = torch.zeros(3, 512)
    state = (head.context(features), zeros, zeros)
    tokens = torch.full((3,), START)
    for place in range(4):
        log_probs, state = head.step(tokens, state)
        torch.testing.assert_close(log_probs, forced[:, place], atol=1e-5, rtol=1e-5)
        if place < 3:
            tokens = numbers[:, place]


def test_targets_are_shifted_and_masked_by_length() -> None:
    head = make_head("lstm", TEXTS)
    targets = head.targets([example("no"), example("yes")])
    inputs, outputs = targets["inputs"].tolist(), targets["outputs"].tolist()
    number = {token: index for index, token in enumerate(head.token_ids.tolist())}
    assert inputs[0][:3] == [256, *b"no"]
    assert outputs[0] == [number[ord("n")], number[ord("o")], number[257], -1]
    assert inputs[1] == [256, *b"yes"]
    assert outputs[1] == [number[token] for token in (*b"yes", 257)]
    assert targets["length"].tolist() == [3, 4]


def test_loss_is_the_mean_over_real_tokens_only() -> None:
    head, features = make_head("lstm", TEXTS), fused(2, 16)
    targets = head.targets([example("no"), example("dark blue")])
    loss, _ = head.loss(features, targets)
    logits = head.token_logits(head.context(features), targets["inputs"])
    outputs = targets["outputs"]
    sums = [
        F.cross_entropy(logits[row, :length], outputs[row, :length], reduction="sum")
        for row, length in ((0, 3), (1, 10))
    ]
    assert loss.item() == pytest.approx(sum(sums).item() / 13, abs=1e-5)


def test_padding_does_not_change_the_loss_and_a_batch_is_cut_to_its_longest() -> None:
    head, features = make_head("lstm", TEXTS), fused(2, 16)
    targets = head.targets([example("no"), example("dark blue")])
    first = {name: tensor[:1] for name, tensor in targets.items()}
    seen = []
    head.lstm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    loss, _ = head.loss(features.index(slice(1)), first)
    alone, _ = head.loss(features.index(slice(1)), head.targets([example("no")]))
    assert loss.item() == pytest.approx(alone.item(), abs=1e-6)
    assert seen == [3, 3]


def test_tokens_that_no_known_answer_uses_are_read_but_not_learnt() -> None:
    head = make_head("lstm", ("yes", "no"))
    targets = head.targets([example("yak")])
    number = {token: index for index, token in enumerate(head.token_ids.tolist())}
    assert targets["outputs"].tolist() == [[number[ord("y")], -1, -1, number[257]]]
    assert targets["inputs"].tolist() == [[256, *b"yak"]]


def test_a_genuine_exclamation_mark_survives() -> None:
    head = make_head("lstm", TEXTS, hidden_dim=64)
    features = fused(4, 16)
    fit(head, features, [example(text) for text in TEXTS])
    assert head.predict(features)[3][0].text == "wow!"


def test_scores_are_products_of_token_probabilities() -> None:
    head, features = make_head("lstm", TEXTS), fused(4, 16)
    fit(head, features, [example(text) for text in TEXTS], steps=40)
    for row, (answer,) in enumerate(head.predict(features)):
        targets = head.targets([example(answer.text)])
        logits = head.token_logits(
            head.context(features.index(slice(row, row + 1))), targets["inputs"]
        )
        log_probs = logits.log_softmax(dim=2).gather(2, targets["outputs"][:, :, None])
        assert answer.score == pytest.approx(log_probs.sum().exp().item(), abs=1e-4)
