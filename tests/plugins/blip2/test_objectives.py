"""Stage 1: equal to transformers where it computes the same, by hand where it does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.plugins.blip2.stage1 import (
    END,
    QUERIES,
    READ,
    START,
    objectives,
    pictures,
    same_weights,
    theirs,
)
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features
from vqazoo_blip2.objectives import best_of_queries, contrast, negatives, same

CAPTIONS = ["a cat", "a red dog", "two"]
SEEDS = range(6)


def read_by(model, made, captions):
    """Image features, pixels, ids and mask for both sides."""
    pixels = torch.randn(len(captions), 3, 32, 32)
    tokens = model.vision_model(pixels).last_hidden_state
    image = Features(tokens=tokens, mask=torch.ones(tokens.shape[:2], dtype=torch.bool))
    ids, mask = made.ids(captions, READ)
    return image, pixels, ids, mask


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_similarities_and_matches_equal_those_of_transformers(seed):
    torch.manual_seed(seed)
    model = theirs(seed)
    made = same_weights(model)
    image, pixels, ids, mask = read_by(model, made, CAPTIONS)
    inputs = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask.long()}
    contrasted = model(**inputs)
    torch.testing.assert_close(
        made.similarity(image, CAPTIONS), contrasted.logits_per_image, atol=1e-5, rtol=0
    )
    matched = model(**inputs, use_image_text_matching_head=True).logits_per_image
    torch.testing.assert_close(made.match_logits(image, ids, mask), matched, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        made.match(image, CAPTIONS), matched.softmax(1)[:, 1], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_hidden_states_equal_those_of_transformers(seed):
    torch.manual_seed(seed)
    model = theirs(seed)
    made = same_weights(model)
    image, _, ids, mask = read_by(model, made, CAPTIONS)
    queries = model.query_tokens.expand(3, -1, -1)
    seen = {"encoder_hidden_states": image.tokens, "encoder_attention_mask": image.mask.long()}
    alone = model.qformer(query_embeds=queries, **seen).last_hidden_state
    former = made._borrowed[0].qformer
    torch.testing.assert_close(former(image.tokens, image.mask), alone, atol=1e-5, rtol=0)
    both = model.qformer(
        query_embeds=model.embeddings(input_ids=ids, query_embeds=queries),
        query_length=QUERIES,
        attention_mask=torch.cat([torch.ones(3, QUERIES), mask], dim=1).long(),
        **seen,
    ).last_hidden_state
    ours = made.states(image, ids, mask, "bidirectional")
    torch.testing.assert_close(ours[:, :QUERIES], both[:, :QUERIES], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[:, QUERIES:][mask], both[:, QUERIES:][mask], atol=1e-5, rtol=0)


def test_the_best_query_decides_the_similarity():
    images = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [-1.0, 0.0]]])
    texts = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.8, 0.6]])
    wanted = torch.tensor([[1.0, 0.0, 0.8], [0.6, 0.0, 0.96]])
    torch.testing.assert_close(best_of_queries(images, texts), wanted)


def test_contrast_by_hand_with_two_equal_captions():
    scaled = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 2.0]])
    alike = same(["a cat", "a dog", "a cat"])
    assert alike.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    share = [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]

    def by_hand(rows):
        total = 0.0
        for row, target in zip(rows, share, strict=True):
            norm = math.log(sum(math.exp(value) for value in row))
            for value, weight in zip(row, target, strict=True):
                total -= (0.9 * weight + 0.1 / 3) * (value - norm)
        return total / 3

    wanted = (by_hand(scaled.tolist()) + by_hand(scaled.T.tolist())) / 2
    assert contrast(scaled, alike, 0.1).item() == pytest.approx(wanted, abs=1e-6)


def test_the_itc_loss_is_that_of_the_similarities():
    made, image = objectives(temperature=0.1), pictures(3)
    (name, loss), *rest = made.losses(image, CAPTIONS, ["itc"]).items()
    assert (name, rest) == ("itc", [])
    similarity = made.similarity(image, CAPTIONS)
    torch.testing.assert_close(loss, contrast(similarity / 0.1, torch.eye(3).bool(), 0.1))


def test_a_batch_of_one_pair_has_finite_losses():
    losses = objectives().losses(pictures(1), ["a cat"], ["itc", "itm", "itg"])
    assert losses["itc"].item() == pytest.approx(0.0, abs=1e-6)
    assert all(loss.isfinite() for loss in losses.values())


def test_hard_negatives_are_likely_ones_and_never_an_equal_caption():
    torch.manual_seed(0)
    similar = torch.tensor(
        [[9.0, 5.0, 2.0, 9.0], [0.0, 9.0, 0.0, 0.0], [3.0, 3.0, 3.0, 3.0], [9.0, 4.0, 4.0, 9.0]]
    )
    alike = same(["a", "b", "c", "a"])
    drawn = torch.zeros(4, 4)
    for _ in range(3000):
        rows, columns = negatives(similar, alike)
        assert rows.tolist() == [0, 1, 2, 3]
        drawn[rows, columns] += 1 / 3000
    wanted = similar.masked_fill(alike, -torch.inf).softmax(1)
    assert not drawn[alike].any()
    torch.testing.assert_close(drawn, wanted, atol=0.03, rtol=0)


def test_a_row_without_any_negative_is_left_out():
    rows, columns = negatives(torch.zeros(2, 2), same(["a", "a"]))
    assert rows.tolist() == columns.tolist() == []
    mixed, _ = negatives(torch.zeros(3, 3), same(["a", "a", "b"]))
    assert mixed.tolist() == [0, 1, 2]


@pytest.mark.parametrize("hard", [True, False])
def test_itm_judges_one_true_pair_and_two_false_ones_each(hard, monkeypatch):
    made, image = objectives(hard_negatives=hard), pictures(3)
    judged = []
    real = made.match_logits

    def watched(shown, ids, mask):
        judged.append((shown.tokens, ids))
        return real(shown, ids, mask)

    monkeypatch.setattr(made, "match_logits", watched)
    torch.manual_seed(1)
    loss = made.losses(image, CAPTIONS, ["itm"])["itm"]
    (tokens, ids), *more = judged
    assert not more
    assert len(tokens) == len(ids) == 9
    own, _ = made.ids(CAPTIONS, READ)
    which = [(image.tokens == one).all(dim=(1, 2)).int().argmax().item() for one in tokens]
    what = [(own == one).all(dim=1).int().argmax().item() for one in ids]
    assert which[:3] == what[:3] == [0, 1, 2]
    assert which[3:6] == [0, 1, 2]  # each picture with another's caption
    assert what[6:] == [0, 1, 2]  # each caption with another's picture
    assert all(a != b for a, b in zip(which[3:], what[3:], strict=True))
    labels = torch.tensor([1] * 3 + [0] * 6)
    logits = real(
        Features(tokens=tokens, mask=torch.ones(9, 5, dtype=torch.bool)),
        ids,
        ids.ne(-1) & made_mask(ids),
    )
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))


def made_mask(ids):
    """Up to and with the first end."""
    return (ids == END).long().cumsum(1).sub((ids == END).long()) == 0


def test_similarities_of_a_diverged_run_are_left_to_its_loss_to_tell():
    rows, columns = negatives(torch.full((3, 3), torch.nan), same(["a", "b", "c"]))
    assert rows.tolist() == [0, 1, 2]
    assert set(columns.tolist()) <= {0, 1, 2}


def test_uniform_negatives_look_at_no_similarity(monkeypatch):
    made = objectives(hard_negatives=False)
    kinds = []
    real = made.states
    monkeypatch.setattr(made, "states", lambda *a: kinds.append(a[3]) or real(*a))
    made.losses(pictures(3), CAPTIONS, ["itm"])
    assert kinds == ["bidirectional"]


def test_itg_scores_each_letter_from_those_before_it():
    made, image = objectives(label_smoothing=0.0), pictures(2)
    captions = ["cab", "b"]
    total, count = 0.0, 0
    for row, caption in enumerate(captions):
        letters = [START, *made._borrowed[2].pieces([caption])[0], END]
        for place in range(1, len(letters)):
            before = torch.tensor([letters[:place]])
            states = made.states(
                image.index(slice(row, row + 1)),
                before,
                torch.ones_like(before, dtype=torch.bool),
                "causal",
            )
            scores = made.word_logits(states[0, -1]).log_softmax(0)
            total, count = total - scores[letters[place]].item(), count + 1
    loss = made.losses(image, captions, ["itg"])["itg"]
    assert loss.item() == pytest.approx(total / count, abs=1e-5)


def test_itg_reads_the_picture_through_the_queries():
    made = objectives()
    one, other = (made.losses(pictures(2, seed), ["cab", "b"], ["itg"])["itg"] for seed in (1, 2))
    assert abs(one.item() - other.item()) > 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_words_are_scored_by_the_embedding_or_by_a_layer_of_their_own(tied):
    made = objectives(tied=tied)
    made.losses(pictures(2), ["cab", "b"], ["itg"])["itg"].backward()
    embedding = made._borrowed[1].words.weight
    unread = 20  # a letter that no caption has
    assert bool(embedding.grad[unread].any()) == tied
    assert ("word_weight" in dict(made.named_parameters())) == (not tied)


def test_all_losses_teach_queries_text_and_projections():
    made = objectives(question_dim=12)  # projected
    losses = made.losses(pictures(3), CAPTIONS, ["itc", "itm", "itg"])
    assert list(losses) == ["itc", "itm", "itg"]
    sum(losses.values()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
    fusion, embedding, _, _ = made._borrowed
    assert all(p.grad is not None for p in embedding.parameters())
    for name, parameter in fusion.named_parameters():
        assert (parameter.grad is None) == name.startswith("project."), name


def test_a_fusion_that_reads_the_question_shares_its_text_half():
    made = objectives(question_dim=12, reads_question=True)
    fusion, *_ = made._borrowed
    assert len(fusion.text_parts) == 2
    assert len(made.text_parts) == 1
    sum(made.losses(pictures(3), CAPTIONS, ["itc", "itm", "itg"]).values()).backward()
    assert all(p.grad is not None for p in fusion.text_parts.parameters())
    assert all(p.grad is not None for p in fusion.text_input.parameters())


def test_the_temperature_stays_in_its_range():
    made = objectives()
    for value, kept in ((-1.0, 0.001), (3.0, 0.5), (0.2, 0.2)):
        made.temperature.data.fill_(value)
        made.after_step()
        assert made.temperature.item() == pytest.approx(kept)


def test_captions_are_cut_but_keep_their_end():
    made = objectives(max_tokens=5)
    ids, mask = made.ids(["abcdef", "ab"], START)
    assert ids.tolist() == [[START, 0, 1, 2, END], [START, 0, 1, END, END]]
    assert mask.tolist() == [[True] * 5, [True] * 4 + [False]]


def test_learning_eight_pairs_lowers_every_loss():
    made = objectives()
    fusion, embedding, _, _ = made._borrowed
    image = pictures(8)
    captions = [f"a {word}" for word in ("cat", "dog", "cow", "pig", "ant", "bee", "fox", "owl")]
    learning = [*made.parameters(), *fusion.parameters(), *embedding.parameters()]
    optimiser = torch.optim.AdamW(learning, lr=1e-2)
    names = ["itc", "itm", "itg"]
    torch.manual_seed(0)
    history = []
    for _ in range(100):
        losses = made.losses(image, captions, names)
        history.append({name: loss.item() for name, loss in losses.items()})
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
        made.after_step()
    for name in names:
        assert history[-1][name] < 0.8 * history[0][name], name
    own = made.match(image, captions)
    other = made.match(image, captions[1:] + captions[:1])
    assert own.mean() > other.mean() + 0.2


def test_an_unknown_objective_or_argument_is_named():
    with pytest.raises(ConfigError, match=r"no objective 'itx'.*Did you mean.*itc, itm, itg"):
        objectives().losses(pictures(1), ["a"], ["itx"])
    with pytest.raises(ConfigError, match="no argument 'queue'"):
        objectives(queue=3)
