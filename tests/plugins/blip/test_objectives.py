"""BLIP's objectives against computations by hand, and what its three modes share."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.plugins.pretraining.conftest import CAPTIONS, pictures, tiny
from vqazoo.errors import ConfigError
from vqazoo_blip.objectives import by_length, caption_keys, negatives
from vqazoo_blip.tying import tie


@pytest.fixture
def subject():
    return tiny()


def image_vectors(objectives, image, projection):
    return [F.normalize(projection(tokens.mean(dim=0)), dim=0) for tokens in image.tokens]


def text_vectors(objectives, captions, fusion, embedding, projection):
    """One caption at a time, so that nothing is padded, with [CLS] in front."""
    found = []
    encoder = objectives._borrowed[2]
    for caption in captions:
        ids = torch.tensor([[objectives.class_id, *encoder.pieces([caption])[0], encoder.end_id]])
        x = embedding(ids, torch.zeros(1, dtype=torch.long))
        for layer in fusion:
            x, _ = layer(x)
        found.append(F.normalize(projection(x[0, 0]), dim=0))
    return found


@torch.no_grad()
def test_captions_of_many_lengths_are_read_without_their_padding(subject):
    """Eleven at once, so that rows of different lengths are read together."""
    objectives = subject.objectives
    words = ["a", "red", "circle", "above", "a", "blue", "square", "on", "white"]
    captions = [*(" ".join(words[:count]) for count in range(1, 10)), "the", "a triangle"]
    assert objectives.ids(captions, 0)[0].shape[1] < objectives.max_tokens, "none is cut"
    wanted = torch.stack(
        text_vectors(
            objectives,
            captions,
            subject.model.fusion.layers,
            subject.model.text_encoder.lend("text_embedding"),
            objectives.text_projection,
        )
    )  # (11, E)
    images = objectives.image_vectors(pictures(), objectives.image_projection)  # (4, E)
    found = objectives.similarity(pictures(), captions)  # (4, 11)
    torch.testing.assert_close(found, images @ wanted.T, rtol=0, atol=1e-5)


@torch.no_grad()
def by_hand(subject, image, captions):
    """ITC with loops: the soft share, the queue, and equal captions as further right answers."""
    objectives = subject.objectives
    slow_unimodal, slow_text, slow_image = objectives.slow
    embedding = subject.model.text_encoder.lend("text_embedding")
    layers = subject.model.fusion.layers
    images = image_vectors(objectives, image, objectives.image_projection)
    texts = text_vectors(objectives, captions, layers, embedding, objectives.text_projection)
    slow_images = image_vectors(objectives, image, slow_image)
    slow_texts = text_vectors(objectives, captions, slow_unimodal[2], slow_unimodal[0], slow_text)
    keys = [*caption_keys(captions).tolist(), *objectives.keys.tolist()]
    share = objectives.alpha * min(1, objectives.steps / 10)
    total = 0.0
    for online, slow, others in (
        (images, slow_images, [*slow_texts, *objectives.text_queue]),
        (texts, slow_texts, [*slow_images, *objectives.image_queue]),
    ):
        for row in range(len(captions)):
            scores = [float(online[row] @ o) / float(objectives.temperature) for o in others]
            soft = [float(slow[row] @ o) / float(objectives.temperature) for o in others]
            norm, soft_norm = (sum(map(math.exp, values)) for values in (scores, soft))
            right = [i for i, key in enumerate(keys) if key == keys[row]]
            for i, score in enumerate(scores):
                target = share * math.exp(soft[i]) / soft_norm
                target += (1 - share) * (i in right) / len(right)
                total -= target * (score - math.log(norm))
    return total / (2 * len(captions))


@pytest.mark.parametrize("steps", [0, 5, 40])
def test_contrast_is_what_loops_give(subject, steps):
    objectives = subject.objectives
    objectives.losses(pictures(seed=2), CAPTIONS, ["itc"])  # fills the queue with equal captions
    objectives.after_step()
    with torch.no_grad():  # the slow copies are other ones
        for parameter in subject.learning():
            parameter.add_(0.05 * torch.randn_like(parameter))
    objectives.steps = steps
    found = objectives.losses(pictures(), CAPTIONS, ["itc"])["itc"]
    assert found.item() == pytest.approx(by_hand(subject, pictures(), CAPTIONS), rel=1e-4)


def test_a_class_token_stands_for_the_picture_where_there_is_one(subject):
    image = pictures()
    marked = type(image)(tokens=image.tokens, mask=image.mask, num_prefix=1)
    found = subject.objectives.image_vectors(marked, subject.objectives.image_projection)
    expected = F.normalize(subject.objectives.image_projection(image.tokens[:, 0]), dim=1)
    torch.testing.assert_close(found, expected)


def test_slow_copies_follow_by_their_momentum(subject):
    objectives = subject.objectives
    watched = objectives.text_projection.weight, subject.model.fusion.layers[1].inner.weight
    slow = objectives.slow[1].weight, objectives.slow[0][2][1].inner.weight
    before = [one.clone() for one in slow]
    with torch.no_grad():
        for parameter in watched:
            parameter.add_(1)
    objectives.after_step()
    for old, new, now in zip(before, watched, slow, strict=True):
        torch.testing.assert_close(now, 0.995 * old + 0.005 * new)
        assert not now.requires_grad


def test_queues_are_filled_in_turn_and_begin_again(subject):
    objectives = subject.objectives.train()
    seen = []
    for step in range(3):  # 12 pairs into 8 places
        image = pictures(seed=step)
        objectives.losses(image, CAPTIONS, ["itc"])
        seen.append(objectives.image_vectors(image, objectives.slow[2]))
        objectives.after_step()
    torch.testing.assert_close(objectives.image_queue, torch.cat([seen[2], seen[1]]))
    assert objectives.keys.tolist() == caption_keys(CAPTIONS).tolist() * 2
    assert objectives.place == 4
    objectives.eval()
    objectives.losses(pictures(seed=9), CAPTIONS, ["itc"])
    objectives.after_step()
    torch.testing.assert_close(objectives.image_queue, torch.cat([seen[2], seen[1]]))


def test_a_queue_that_batches_do_not_fill_evenly_is_refused():
    with pytest.raises(ConfigError, match=r"multiple of the batch size 4: set .*queue=8"):
        tiny(queue=9)


def test_the_temperature_stays_in_its_range(subject):
    objectives = subject.objectives
    for value, kept in ((9.0, 0.5), (0.0, 0.001), (0.1, 0.1)):
        with torch.no_grad():
            objectives.temperature.fill_(value)
        objectives.after_step()
        assert objectives.temperature.item() == pytest.approx(kept)


# ---- matching -----------------------------------------------------------------------------------


def test_negatives_are_drawn_by_similarity_and_never_alike():
    torch.manual_seed(0)
    similar = torch.tensor([[9.0, 1.0, 0.0, 2.0]]).repeat(4, 1)
    alike = torch.eye(4, dtype=torch.bool)
    alike[0, 3] = alike[3, 0] = True
    counts = torch.zeros(4, 4)
    for _ in range(4000):
        rows, columns = negatives(similar, alike)
        assert rows.tolist() == [0, 1, 2, 3]
        counts[rows, columns] += 1
    assert counts[alike].sum() == 0
    chances = (similar.softmax(dim=1) + 1e-4).masked_fill(alike, 0)
    expected = 4000 * chances / chances.sum(dim=1, keepdim=True)
    assert ((counts - expected).abs() <= 4 * expected.sqrt() + 1).all()


def test_without_similarities_any_other_pair_is_as_likely():
    torch.manual_seed(0)
    counts = torch.zeros(4, 4)
    for _ in range(3000):
        counts[negatives(torch.zeros(4, 4), torch.eye(4, dtype=torch.bool))] += 1
    assert counts.diagonal().sum() == 0
    assert (counts[~torch.eye(4, dtype=torch.bool)] - 1000).abs().max() < 130


def test_a_batch_of_one_caption_has_no_negatives(subject):
    rows, columns = negatives(torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool))
    assert len(rows) == len(columns) == 0
    found = subject.objectives.losses(pictures(), ["a star"] * 4, ["itm"])["itm"]
    sure = subject.objectives.match(pictures(), ["a star"] * 4)
    torch.testing.assert_close(found, -sure.log().mean())


def test_matching_learns_each_pair_a_false_picture_and_a_false_caption(subject, monkeypatch):
    """The drawn pairs are recorded, and each is judged alone."""
    objectives, image = subject.objectives, pictures()
    drawn = []

    def record(similar, alike, share):
        drawn.append(negatives(similar, alike, share))
        return drawn[-1]

    monkeypatch.setattr("vqazoo_blip.objectives.negatives", record)
    found = objectives.losses(image, CAPTIONS, ["itm"])["itm"]
    (captions, images), (others, texts) = drawn
    assert captions.tolist() == others.tolist() == [0, 1, 2, 3]
    pairs = [(n, n, True) for n in range(4)]
    pairs += [(images[n].item(), n, False) for n in range(4)]
    pairs += [(n, texts[n].item(), False) for n in range(4)]
    total = 0.0
    for picture, caption, fits in pairs:
        assert fits or CAPTIONS[picture] != CAPTIONS[caption]
        sure = objectives.match(image.index(torch.tensor([picture])), [CAPTIONS[caption]]).item()
        total -= math.log(sure if fits else 1 - sure)
    assert found.item() == pytest.approx(total / 12, rel=1e-4)


@pytest.mark.parametrize("hard", [True, False])
def test_similarities_reach_the_mining_only_if_asked(hard, monkeypatch):
    given = []
    monkeypatch.setattr(
        "vqazoo_blip.objectives.negatives",
        lambda similar, alike, _: (given.append(similar), negatives(similar, alike))[1],
    )
    subject = tiny(hard_negatives=hard)
    subject.objectives.losses(pictures(), CAPTIONS, ["itc", "itm"])
    by_text, by_image = given
    assert (by_text.abs().sum() > 0) == (by_image.abs().sum() > 0) == hard
    if hard:
        expected = subject.objectives.similarity(pictures(), CAPTIONS) / 0.07
        torch.testing.assert_close(by_image, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(by_text, expected.T, rtol=1e-4, atol=1e-4)


# ---- captions -----------------------------------------------------------------------------------


def test_the_caption_loss_is_torchs_cross_entropy_of_unpadded_captions(subject):
    objectives, image, decoder = subject.objectives, pictures(), subject.decoder
    encoder = subject.model.text_encoder
    logits, labels = [], []
    for row, caption in enumerate(CAPTIONS):
        ids = [encoder.start_id, *encoder.pieces([caption])[0], encoder.end_id]
        seen = decoder.look(image.index(torch.tensor([row])))
        states, _ = decoder.read(torch.tensor([ids[:-1]]), seen, None)
        logits.append(decoder.logits(states[0]))
        labels += ids[1:]
    expected = F.cross_entropy(torch.cat(logits), torch.tensor(labels), label_smoothing=0.1)
    found = objectives.losses(image, CAPTIONS, ["lm"])["lm"]
    torch.testing.assert_close(found, expected)


def test_a_long_caption_is_cut_but_ends(subject):
    ids, mask = subject.objectives.ids(["a star " * 40, "a star"], 7)
    assert ids.shape == (2, 30)
    assert ids[0, 0] == 7
    assert ids[0, -1] == subject.model.text_encoder.end_id
    (short,) = subject.model.text_encoder.pieces(["a star"])
    assert mask.sum(dim=1).tolist() == [30, len(short) + 2]


def test_captions_read_by_length_come_back_in_order():
    torch.manual_seed(0)
    lengths = torch.tensor([3, 9, 1, 4, 4, 7, 2])
    mask = torch.arange(9) < lengths[:, None]
    read = []

    def compute(rows, longest):
        read.append((rows.tolist(), longest))
        return lengths[rows]

    assert by_length(mask, compute).tolist() == lengths.tolist()
    assert [longest for _, longest in read] == [2, 4, 7, 9]


# ---- sharing ------------------------------------------------------------------------------------


def test_the_decoder_shares_all_but_its_self_attention(subject):
    fusion, decoder = subject.model.fusion, subject.decoder
    for encode, decode in zip(fusion.layers, decoder.layers, strict=True):
        for name in ("cross", "cross_norm", "inner", "outer", "outer_norm"):
            assert getattr(encode, name) is getattr(decode, name)
        assert encode.attention is not decode.attention
        assert encode.attention_norm is not decode.attention_norm
    assert decoder.embedding is subject.model.text_encoder.lend("text_embedding")
    names = [id(parameter) for parameter in subject.learning()]
    assert len(names) == len(set(names))
    assert {id(parameter) for parameter in decoder.parameters()} < set(names)
    frozen = {id(p) for p in subject.model.image_encoder.parameters()}
    assert not frozen & set(names)
    assert not {id(p) for p in subject.objectives.slow.parameters()} & set(names)


def test_parts_of_other_sizes_cannot_share(subject):
    deeper = tiny().model.fusion
    del deeper.layers[1]
    with pytest.raises(ConfigError, match="cannot share their weights: '1"):
        tie(subject.decoder, deeper, subject.model.text_encoder.lend("text_embedding"))


def test_every_objective_moves_what_it_should(subject):
    touched = {}
    for name in ("itc", "itm", "lm"):
        subject.zero_grad()
        subject.objectives.losses(pictures(), CAPTIONS, [name])[name].backward()
        layer, other = subject.model.fusion.layers[0], subject.decoder.layers[0]
        touched[name] = [
            part.weight.grad is not None and bool(part.weight.grad.abs().sum() > 0)
            for part in (
                layer.attention.query,
                layer.cross.query,
                layer.inner,
                other.attention.query,
                subject.objectives.match_output,
                subject.objectives.text_projection,
            )
        ]
    assert touched == {
        "itc": [True, False, True, False, False, True],
        "itm": [True, True, True, False, True, False],
        "lm": [False, True, True, True, False, False],
    }
