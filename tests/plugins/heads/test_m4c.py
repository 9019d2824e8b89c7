"""M4C against the paper's equations in plain PyTorch, and what it copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.toy import example
from vqazoo.data import OcrToken
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, DataError
from vqazoo.interfaces import Features, FusedSpec
from vqazoo.registry import registry
from vqazoo.testing import toy_encoder
from vqazoo_heads.phoc import phoc

TEXTS = ("yes", "no", "dark blue", "blue sea")
BOXES = ((0.0, 0.0, 0.3, 0.2), (0.5, 0.1, 0.9, 0.4), (0.2, 0.6, 0.4, 0.7))
READ = (
    (OcrToken("Zorbo", BOXES[0]), OcrToken("cafe", BOXES[1]), OcrToken("no", BOXES[2])),
    (OcrToken("LUXA", BOXES[1]),),
    (),
)
BEGIN, END = 0, 1


def make(dim: int = 12, small: bool = False, **args: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"dim": 16, "layers": 2, "heads": 4, "steps": 4, "dropout": 0.0, **args}
    answers = AnswerList(TEXTS, (4, 3, 2, 2))
    head = registry.build("head", "m4c", FusedSpec("tokens", dim), answers, toy_encoder(), **sizes)
    if not small:
        torch.manual_seed(3)
        for parameter in head.parameters():  # larger than at first, so that every term is felt
            nn.init.normal_(parameter, std=0.4)
        nn.init.constant_(head.output.bias, -2.0)  # or it would hardly ever copy
    return head.eval()


def features(read: Sequence[Any] = READ, dim: int = 12) -> Features:
    tokens = torch.randn(len(read), 5, dim, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(5) < torch.tensor([5, 4, 2, 5, 3])[: len(read), None]
    return Features(tokens=tokens, mask=mask).with_ocr(read)


def torch_layers(head: Any) -> list[nn.TransformerEncoderLayer]:
    """The head's layers as those of torch, with its weights."""
    made = []
    for layer in head.layers:
        dim = layer.inner.in_features
        other = nn.TransformerEncoderLayer(
            dim, 4, 4 * dim, 0.0, "gelu", 1e-12, batch_first=True
        ).eval()
        own = layer.attention
        joined = (own.query, own.key, own.value)
        other.self_attn.in_proj_weight.data = torch.cat([part.weight for part in joined])
        other.self_attn.in_proj_bias.data = torch.cat([part.bias for part in joined])
        for here, there in (
            (other.self_attn.out_proj, own.output),
            (other.norm1, layer.attention_norm),
            (other.linear1, layer.inner),
            (other.linear2, layer.outer),
            (other.norm2, layer.outer_norm),
        ):
            here.load_state_dict(there.state_dict())
        made.append(other)
    return made


def reference(head: Any, fused: Features, before: Tensor) -> Tensor:
    """Scores (B, T, V + M) by the equations of the paper: the whole sequence at once, under one
    mask, for the choices before each step (B, T)."""
    assert fused.tokens is not None
    assert fused.mask is not None
    read: Any = fused.ocr_tokens
    most = max(1, *(len(row) for row in read))
    spelt, boxes = torch.zeros(len(read), most, 604), torch.zeros(len(read), most, 4)
    present = torch.zeros(len(read), most, dtype=torch.bool)
    for row, tokens in enumerate(read):
        for number, token in enumerate(tokens):
            (histogram,) = phoc([token.text])
            spelt[row, number] = histogram / histogram.norm()
            boxes[row, number] = torch.tensor(token.box)
            present[row, number] = True
    copied = head.spelling_norm(head.spelling_layer(spelt))
    copied = copied + head.box_norm(head.box_layer(boxes))
    tokens = head.token_norm(head.project(fused.tokens))

    count, steps = len(head.words), before.shape[1]
    table = torch.cat(
        [
            head.known_norm(head.output.weight).expand(len(read), -1, -1),
            head.copied_norm(copied),
        ],
        dim=1,
    )
    chosen = torch.stack([row[places] for row, places in zip(table, before, strict=True)])
    kind = (before >= count).long()
    chosen = chosen + head.place_norm(head.place.weight[:steps] + head.kind.weight[kind])

    x = torch.cat([tokens, copied, chosen], dim=1)
    seen = x.shape[1] - steps
    real = torch.cat([fused.mask, present, torch.zeros(len(read), steps, dtype=torch.bool)], dim=1)
    may = real[:, None].repeat(1, x.shape[1], 1)
    may[:, seen:, seen:] = torch.ones(steps, steps, dtype=torch.bool).tril()
    for layer in torch_layers(head):
        x = layer(x, src_mask=~may.repeat_interleave(4, dim=0))
    steps_out, places_out = x[:, seen:], x[:, fused.tokens.shape[1] : seen]
    pointed = torch.einsum("btd,bmd->btm", head.query(steps_out), head.key(places_out))
    pointed = pointed / math.sqrt(x.shape[2])
    pointed = pointed.masked_fill(~present[:, None], -1e4)
    return torch.cat([head.output(steps_out), pointed], dim=2)


@torch.no_grad()
def test_greedy_answers_are_those_of_the_papers_equations_step_by_step() -> None:
    head, fused = make(), features()
    before = torch.zeros(3, 4, dtype=torch.long)  # <begin>, as in the published code
    for _ in range(4):
        scores = reference(head, fused, before)
        scores[:, :, BEGIN] = -torch.inf
        before[:, 1:] = scores.argmax(dim=2)[:, :-1]
    chosen, told = scores.argmax(dim=2).tolist(), head.predict(fused)
    copied = 0
    for row, read in enumerate(READ):
        words = [*head.words, *(token.text.lower() for token in read)]
        ids = chosen[row][: chosen[row].index(END)] if END in chosen[row] else chosen[row]
        assert told[row][0].text == " ".join(words[i] for i in ids)
        copied += sum(i >= len(head.words) for i in ids)
        chance = 1.0
        for step in range(min(len(ids) + 1, 4)):
            sigmoids: dict[str, float] = {}
            for word, score in zip(words, scores[row, step, : len(words)].tolist(), strict=True):
                sigmoids[word] = max(sigmoids.get(word, 0.0), 1 / (1 + math.exp(-score)))
            chance *= sigmoids[words[chosen[row][step]]] / sum(sigmoids.values())
        assert told[row][0].score == pytest.approx(chance, rel=1e-4)
    assert copied, "no row copies a word, so the pointer was not compared"


def test_the_loss_is_binary_cross_entropy_over_all_sources_of_each_word() -> None:
    head, fused = make(), features()
    asked = [
        replace(example(answer), ocr_tokens=read)
        for answer, read in zip(("cafe no", "luxa", "zebra"), READ, strict=True)
    ]
    loss, _ = head.loss(fused, head.targets(asked))
    count, no = len(head.words), head.words.index("no")
    before = torch.tensor([[BEGIN, count + 1, no], [BEGIN, count, END], [BEGIN, END, END]])
    scores = reference(head, fused, before)
    right = torch.zeros_like(scores)
    right[0, 0, count + 1] = right[0, 1, no] = right[0, 1, count + 2] = right[0, 2, END] = 1
    right[1, 0, count] = right[1, 1, END] = 1
    each = F.binary_cross_entropy_with_logits(scores, right, reduction="none").sum(dim=2)
    # Three steps of the first answer, two of the second; nothing spells the third.
    expected = (each[0].sum() + each[1, :2].sum()) / 5
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_in_training_the_next_step_reads_a_source_that_is_drawn() -> None:
    head = make().train()
    right = torch.zeros(400, 2, 9)
    right[:, 0, 3] = right[:, 0, 8] = right[:, 1, END] = 1
    torch.manual_seed(0)
    drawn = head._before(right)
    assert set(drawn[:, 0].tolist()) == {BEGIN}
    shares = [(drawn[:, 1] == source).float().mean().item() for source in (3, 8)]
    assert sum(shares) == 1
    assert shares[0] == pytest.approx(0.5, abs=0.1)


@torch.no_grad()
def test_the_order_of_words_in_a_picture_changes_nothing() -> None:
    head = make()
    mixed = [READ[0][::-1], READ[1], READ[2]]
    given, changed = head.predict(features(), 3), head.predict(features(mixed), 3)
    for row, other in zip(given, changed, strict=True):
        assert [answer.text for answer in row] == [answer.text for answer in other]
        scores = [answer.score for answer in other]
        assert [answer.score for answer in row] == pytest.approx(scores, rel=1e-4)


def test_it_learns_to_copy_words_that_no_answer_had() -> None:
    """Of two words the one in the upper left corner; the words are new every time."""
    head = make(dim=8, layers=1, small=True)
    rng = torch.Generator().manual_seed(0)

    def batch(letters: str, size: int) -> tuple[list[Any], Features]:
        asked, read = [], []
        for _ in range(size):
            numbers = torch.randint(len(letters), (2, 5), generator=rng).tolist()
            words = ["".join(letters[n] for n in word) for word in numbers]
            seen = [OcrToken(word, BOXES[n]) for n, word in enumerate(words)]
            read.append(tuple(seen[:: 1 if len(read) % 2 else -1]))
            asked.append(replace(example(words[0]), ocr_tokens=read[-1]))
        tokens, mask = torch.ones(size, 1, 8), torch.ones(size, 1, dtype=torch.bool)
        return asked, Features(tokens=tokens, mask=mask).with_ocr(read)

    optimiser = torch.optim.Adam(head.parameters(), lr=1e-2)
    head.train()
    for _ in range(60):
        asked, fused = batch("abcdefghijk", 16)
        optimiser.zero_grad()
        head.loss(fused, head.targets(asked))[0].backward()
        optimiser.step()
    head.eval()
    asked, fused = batch("lmnopqrstuvwxyz0123456789", 64)  # none of the letters it learnt with
    texts = [row[0].text for row in head.predict(fused)]
    right = sum(text == one.target for text, one in zip(texts, asked, strict=True))
    assert right >= 60


def test_only_the_first_words_of_a_picture_can_be_copied_and_tokens_are_split_at_blanks() -> None:
    head = make(places=2)
    read = (OcrToken("Two Words", BOXES[0]), OcrToken("third", BOXES[1]))
    asked = [replace(example(text), ocr_tokens=read) for text in ("words two", "third")]
    assert head.targets(asked)["length"].tolist() == [3, 0]


def test_words_of_the_vocabulary_are_the_most_frequent_ones() -> None:
    # yes 4, blue 2 + 2, no 3, dark 2, sea 2
    assert make(vocabulary=3).words == ("<begin>", "<end>", "blue", "yes", "no")
    assert make(vocabulary=0).words == ("<begin>", "<end>")


def test_who_does_not_say_what_was_read_is_told() -> None:
    head = make()
    with pytest.raises(ConfigError, match="nobody says which: give ocr_tokens"):
        head.predict(features().with_ocr(None))
    with pytest.raises(ConfigError, match="an empty list says that there are none"):
        head.predict(features((READ[0], None)))
    with pytest.raises(DataError, match="Question '1' comes without OCR tokens"):
        head.targets([example("yes")])


def test_more_words_than_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match="'max_tokens' is 5, but the head 'm4c' has 4 steps"):
        make().predict(features(), max_tokens=5)
