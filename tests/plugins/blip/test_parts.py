"""BLIP's parts with other encoders: words, image-grounded encoder, decoder that writes or ranks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

import vqazoo
from tests.plugins.encoders.tiny import hf_clip, hf_text
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.data.answers import AnswerList, apply_rule
from vqazoo.errors import ConfigError, IncompatibleError
from vqazoo.interfaces import Encoder, Features, FusedSpec
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder, check_encoder, check_fusion, check_head, toy_encoder
from vqazoo_blip.decoder import PADDING, MedDecoder

TEXTS = ("yes", "no", "dark blue", "a red circle", "a red square")
SMALL = {"dim": 16, "layers": 2, "heads": 2, "hidden_dim": 24}
TEXT = frozenset({"text"})


def words(of: str, **args: object) -> Encoder:
    name = f"words:{of}"
    encoder: Encoder = registry.build("encoder", name, of, TEXT, **args)
    return encoder.eval()


def decoder(texts: tuple[str, ...] = TEXTS, **args: object) -> MedDecoder:
    """With weights so wide that answers differ."""
    torch.manual_seed(0)
    answers = AnswerList(texts, (2,) * len(texts))
    head: MedDecoder = registry.build(
        "head", "med-decoder", FusedSpec("tokens", 12), answers, toy_encoder(), **{**SMALL, **args}
    )
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return head.eval()


def fused(rows: int = 3, seed: int = 0) -> Features:
    """Tokens of which each row but the first has some padded."""
    tokens = torch.randn(rows, 5, 12, generator=torch.Generator().manual_seed(seed))
    return Features(tokens=tokens, mask=torch.arange(5) < (5 - torch.arange(rows))[:, None])


# ---- words ---------------------------------------------------------------------------------------


def test_the_published_ids_are_those_of_bert_and_two_more() -> None:
    """Li et al.: bert-base-uncased has 30,522 ids, so [DEC] is 30522 and [ENC] 30523."""

    class Large(ToyEncoder):
        def __init__(self, *context: object) -> None:
            super().__init__(*context, width=2, vocabulary=30_522)  # type: ignore[arg-type]
            self.codec = SimpleNamespace(pieces=self.pieces, decode=self.decode)  # type: ignore[assignment]

    registry.register("encoder", "toy-30522", replace(TOY, args={}))(Large)
    try:
        encoder = words("toy-30522")
    finally:
        registry.unregister("encoder", "toy-30522")
    assert encoder.start_id == 30_522
    assert encoder.encode_id == 30_523  # type: ignore[attr-defined]
    assert encoder.lend("token_embedding").num_embeddings == 30_524


@pytest.mark.parametrize("of", ["tiny-clip", "hf-text:{}/bert", "hf-clip:{}/siglip"])
def test_words_keep_the_contract_of_encoders(of: str, tmp_path: Path) -> None:
    hf_text(tmp_path / "bert", "bert"), hf_clip(tmp_path / "siglip", "siglip")
    name = of.format(tmp_path)
    encoder = words(name, dim=16)
    if "tiny-clip" in of:  # the other tokenizers know too few words
        check_encoder(encoder, registry.manifest("encoder", "words"))
    assert {n.partition(".")[0] for n, _ in encoder.named_parameters()} == {"embedding"}
    ids, mask = encoder.tokenize(["what is this?", "red"])
    assert ids[1, mask[1]].tolist()[1:-1] == encoder.pieces(["red"])[0]  # nothing is lost


def test_a_question_starts_with_enc_and_what_is_lent_does_not_replace_it() -> None:
    encoder = words("tiny-clip", dim=16, dropout=0.5)
    ids, mask = encoder.tokenize(["is it red?"])
    question = encoder.encode_text(ids, mask, frozenset({"tokens"})).tokens
    lent = encoder.lend("text_embedding")
    plain = lent(ids, torch.tensor([0]))
    assert not torch.allclose(plain[:, 0], question[:, 0])
    assert torch.equal(plain[:, 1:], question[:, 1:])
    replaced = ids.clone()
    replaced[:, 0] = encoder.encode_id  # type: ignore[attr-defined]
    assert torch.equal(lent(replaced, torch.tensor([0])), question)
    by_hand = encoder.embedding.words.weight[ids[0, 2]] + encoder.embedding.positions.weight[2]  # type: ignore[attr-defined,union-attr,index]
    assert torch.allclose(F.layer_norm(by_hand, (16,), eps=1e-12), question[0, 2], atol=1e-4)


def test_a_shorter_context_cuts_the_question_but_keeps_its_end() -> None:
    encoder = words("tiny-clip", context_length=6)
    ids, _ = encoder.tokenize(["what is the color of the large circle?"])
    assert ids.shape[1] == 6
    assert ids[0, -1] == encoder.end_id
    assert encoder.spec.context_length == 6


def test_words_without_an_encoder_or_of_one_without_text_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs the text encoder.*words:tiny-clip"):
        registry.build("encoder", "words", None, TEXT)
    with pytest.raises(IncompatibleError, match="no image tower"):
        vqazoo.create(encoder="words:tiny-clip", fusion="med", head="med-decoder", answers=["a"])
    with pytest.raises(IncompatibleError, match="has no text tower"):
        words("efficientnet-lite0")


# ---- the image-grounded encoder ------------------------------------------------------------------


def test_med_keeps_the_contract_at_several_widths() -> None:
    check_fusion("med", **SMALL)
    check_fusion("med", **{**SMALL, "dim": 0, "heads": 4})
    with pytest.raises(ConfigError, match=r"dim 28 and heads 3.*try dim 192, or heads 4"):
        check_fusion("med", **{**SMALL, "dim": 0, "heads": 3})


# ---- the decoder: learning -----------------------------------------------------------------------


def test_the_decoder_keeps_the_contract() -> None:
    check_head("med-decoder", **{**SMALL, "dim": 32}, prompt="say ", dropout=0.0)


def test_weights_of_a_vqa_record_sum_to_one() -> None:
    answers = ("yes",) * 7 + ("no",) * 2 + ("maybe",)
    record = Example(Path("a.png"), "what?", answers, "1")
    (example,) = apply_rule("soft", [record], seed=0)
    targets = decoder().targets([example])
    assert targets["weight"].shape == (1, 3)
    assert targets["weight"].sum().item() == pytest.approx(1)
    assert targets["tokens"].shape == (1, 3, len("maybe") + 1)


def test_the_loss_is_the_one_of_the_paper_by_hand() -> None:
    """Weight x smoothed cross-entropy summed over tokens, summed over answers, mean over rows."""
    head, features = decoder(label_smoothing=0.1, prompt="a "), fused(3)
    asked = [
        Example(Path("a.png"), "?", (), str(n), targets=targets)
        for n, targets in enumerate([(("yes", 3.0), ("dark blue", 1.0)), (), (("no", 0.2),)])
    ]
    head.training = True  # labels are smoothed in training only; dropout stays off
    loss, _ = head.loss(features, head.targets(asked))
    expected = 0.0
    for row, share, text in ((0, 0.75, "yes"), (0, 0.25, "dark blue"), (2, 1.0, "no")):
        answer = [*text.encode(), 257]
        ids = torch.tensor([[256, *b"a ", *answer[:-1]]])
        states, _ = head.read(ids, head.look(features.index(slice(row, row + 1))), None)
        scores = head.logits(states)[0, 2:]  # the prompt teaches nothing
        each = F.cross_entropy(scores, torch.tensor(answer), reduction="none", label_smoothing=0.1)
        expected += share * each.sum().item()
    assert loss.item() == pytest.approx(expected / 3, rel=1e-5)
    nothing, _ = head.loss(features.index(slice(1, 2)), head.targets(asked[1:2]))
    assert nothing.item() == 0


def test_answers_that_share_a_row_cost_as_much_as_apart() -> None:
    """All rows with equally many answers take another path through attention."""
    head, features = decoder(label_smoothing=0.0), fused(2)
    asked = [
        Example(Path("a.png"), "?", (), str(n), targets=((a, 1.0), (b, 1.0)))
        for n, (a, b) in enumerate([("yes", "no"), ("dark blue", "a red circle")])
    ]
    together, _ = head.loss(features, head.targets(asked))
    more = head.targets([*asked, Example(Path("a.png"), "?", (), "3", targets=(("no", 1.0),))])
    apart, _ = head.loss(fused(3), more)
    alone, _ = head.loss(fused(3).index(slice(2, 3)), {k: v[2:] for k, v in more.items()})
    expected = head.loss(fused(3).index(slice(0, 2)), {k: v[:2] for k, v in more.items()})[0]
    assert apart.item() * 3 == pytest.approx(expected.item() * 2 + alone.item(), rel=1e-5)
    assert together.isfinite()


def test_a_long_answer_is_cut_but_ends() -> None:
    head = decoder(context_length=6)
    assert head.spell(["dark blue"])[0] == [*b"dark", 257]
    assert head.longest == 5
    with pytest.raises(ConfigError, match="its prompt 'a long prompt' takes 14 tokens"):
        decoder(context_length=12, prompt="a long prompt")


# ---- the decoder: answering ----------------------------------------------------------------------


@torch.no_grad()
def test_cached_steps_give_what_reading_at_once_gives() -> None:
    head, features = decoder(), fused()
    (written,) = head.generate(features.index(slice(1, 2)), max_tokens=6)
    tokens = torch.tensor([written[0].tokens])
    if tokens.shape[1] < 6:
        tokens = torch.cat([tokens, torch.tensor([[257]])], dim=1)
    losses = head.token_losses(head.look(features.index(slice(1, 2))), tokens, 0.0)
    assert -losses.sum().item() == pytest.approx(written[0].log_probability, abs=1e-4)
    ids = torch.cat([torch.tensor([[256]]), tokens[:, :-1]], dim=1)
    states, _ = head.read(ids, head.look(features.index(slice(1, 2))), None)
    assert head.logits(states)[0].argmax(dim=1).tolist() == tokens[0].tolist()  # greedy


@pytest.mark.parametrize("options", [{}, {"strategy": "beam"}, {"strategy": "rank"}])
@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(options: dict[str, str]) -> None:
    head, features = decoder(), fused()
    batch = head.predict(features, **options)
    for row in range(3):
        (alone,) = head.predict(features.index(slice(row, row + 1)), **options)
        assert alone[0].text == batch[row][0].text
        assert alone[0].score == pytest.approx(batch[row][0].score, rel=1e-4)


def exhaustive(
    head: MedDecoder, features: Features, texts: list[str], smoothing: float = 0.0
) -> list[list[float]]:
    """Minus the loss of every text for every row, one at a time and without a cache; without
    smoothing, its log-probability."""
    rows = []
    for row in range(len(features)):
        seen = head.look(features.index(slice(row, row + 1)))
        rows.append(
            [
                -head.token_losses(seen, torch.tensor(head.spell([text])), smoothing).sum().item()
                for text in texts
            ]
        )
    return rows


@pytest.mark.parametrize("prompt", ["", "is "])
@torch.no_grad()
def test_ranking_all_candidates_is_exhaustive_scoring(
    prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqazoo_blip.decoder.CHUNK", 7)  # several chunks
    head, features = decoder(label_smoothing=0.0, prompt=prompt), fused()
    texts = [*TEXTS, "", "y", "square", "seven of nine"]
    for first_k in (len(texts), 128):
        ranked = head.rank(features, texts, len(texts), first_k)
        for found, scores in zip(ranked, exhaustive(head, features, texts), strict=True):
            order = sorted(range(len(texts)), key=lambda n: -scores[n])
            assert [one.text for one in found] == [texts[n] for n in order]
            assert [one.score for one in found] == pytest.approx(
                [math.exp(scores[n]) for n in order], rel=1e-4
            )


@pytest.mark.parametrize("smoothing", [0.1, 0.6, 0.95])
@torch.no_grad()
def test_candidates_are_ranked_by_the_loss_of_training_and_scored_by_their_probability(
    smoothing: float,
) -> None:
    """blip_vqa.py, rank_answer: label smoothing is part of what is ranked by."""
    head, features = decoder(label_smoothing=smoothing), fused()
    texts = [*TEXTS, "y", "square", "seven of nine", "a", "zoo", "no, not at all", "3"]
    plain = exhaustive(head, features, texts)
    smooth = exhaustive(head, features, texts, smoothing)
    if smoothing > 0.9:
        assert any(
            max(range(len(texts)), key=one.__getitem__)
            != max(range(len(texts)), key=other.__getitem__)
            for one, other in zip(plain, smooth, strict=True)
        ), "smoothing must matter here, or nothing is tested"
    ranked = head.rank(features, texts, len(texts))
    for found, score, rated in zip(ranked, plain, smooth, strict=True):
        order = sorted(range(len(texts)), key=lambda n: -rated[n])
        assert [one.text for one in found] == [texts[n] for n in order]
        assert [one.score for one in found] == pytest.approx(
            [math.exp(score[n]) for n in order], rel=1e-4
        )


@torch.no_grad()
def test_only_the_candidates_with_the_likeliest_first_tokens_are_scored() -> None:
    head, features = decoder(label_smoothing=0.0), fused()
    first, _ = head.begin(head.look(features))
    texts = ["yes", "no", "dark", "a", "zoo"]
    starts = first[:, [ord(text[0]) for text in texts]]
    for row, found in enumerate(head.rank(features, texts, 5, first_k=2)):
        best = {texts[n] for n in starts[row].topk(2).indices.tolist()}
        assert {one.text for one in found} == best
    assert head.rank(features, texts, 1, 2)[0] == head.rank(features, texts, 5, 2)[0][:1]
    with pytest.raises(ConfigError, match="no answers to rank"):
        head.rank(features, [], 1)


def test_the_strategy_rank_ranks_the_known_answers() -> None:
    head, features = decoder(), fused()
    assert head.predict(features, 2, strategy="rank") == head.rank(features, TEXTS, 2)


def test_targets_are_padded_where_there_is_no_token() -> None:
    (tokens,) = decoder().targets([Example(Path("a"), "?", (), "1", targets=(("no", 1.0),))])[
        "tokens"
    ]
    assert tokens.tolist() == [[*b"no", 257]]
    assert (decoder().targets([Example(Path("a"), "?", (), "1")])["tokens"] == PADDING).all()


# ---- together ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["words:{}/siglip", "hf-clip:{}/siglip", "hf-text:{}/bert"])
def test_a_siglip_tower_feeds_blip_and_learns_saves_and_loads(
    text: str, tmp_path: Path, picture: Path
) -> None:
    hf_clip(tmp_path / "siglip", "siglip"), hf_text(tmp_path / "bert", "bert")
    text = text.replace("words:", "words:hf-clip:").format(tmp_path)
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder=f"hf-clip:{tmp_path}/siglip",
        text_encoder=text,
        fusion={"type": "med", "args": SMALL},
        head={"type": "med-decoder", "args": SMALL},
        answers=["red", "blue", "a circle"],
    )
    model.train()
    asked = [
        Example(picture, "what?", (a,), a, targets=((a, 1.0),)) for a in ("red", "blue", "a circle")
    ]
    targets = model.head.targets(asked)
    optimiser = torch.optim.AdamW([*model.fusion.parameters(), *model.head.parameters()], 1e-3)
    pixels = torch.randn(3, 3, 32, 32)
    losses = []
    for _ in range(2):
        loss, _ = model.head.loss(model(pixels, ["what is this?"] * 3), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    for part in (model.fusion, model.head):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    model.eval()
    before = model.answer(picture, "what is this?", top_k=2)
    ranked = model.answer(picture, "what is this?", top_k=3, strategy="rank")
    assert {one.text for one in (ranked, *ranked.alternatives)} == {"red", "blue", "a circle"}
    save_checkpoint(model, tmp_path / "saved")
    assert load_checkpoint(tmp_path / "saved").answer(picture, "what is this?", top_k=2) == before
