"""GIT's fusion, decoder and encoder: what each adds, masks, learns, writes and refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import vqazoo
import vqazoo_git.decoder as decoder
from tests.plugins.git.tiny import git
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.errors import ConfigError, IncompatibleError, QuestionError
from vqazoo.interfaces import Features, TowerSpec
from vqazoo_git.decoder import PADDING, seq2seq
from vqazoo_git.fusion import GITFusion

ANSWERS = ["red", "blue", "a circle", "yes", "it is the red circle", "no"]
QUESTIONS = ["what is this ?", "no", "is the red circle a shape"]
SMALL = {"layers": 2, "heads": 2, "hidden_dim": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return git(tmp_path_factory.mktemp("git") / "published")


@pytest.fixture
def model(folder):
    return build(folder)


def build(folder, fusion=(), head=()):
    """An untrained model whose answers vary."""
    torch.manual_seed(0)
    made = vqazoo.create(
        encoder=f"hf-git:{folder}",
        fusion={"type": "git", "args": dict(fusion)},
        head={"type": "git-decoder", "args": {**SMALL, **dict(head)}},
        answers=ANSWERS,
    )
    with torch.no_grad():
        for parameter in [*made.fusion.parameters(), *made.head.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return made


@pytest.fixture
def fused(model):
    with torch.no_grad():
        return model(pixels(len(QUESTIONS)), QUESTIONS)


def pixels(count):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def example(answer):
    return Example(None, "", (answer,), answer, targets=((answer, 1.0),))


def fusion(**args):
    said = {"dim": 6, "frames": 3, "image_tokens": True} | args
    torch.manual_seed(0)
    return GITFusion(TowerSpec(None, 4), TowerSpec(None, 6), **said)


def features(count, tokens, dim, frames=0):
    values = torch.randn(count, tokens, dim, generator=torch.Generator().manual_seed(tokens))
    return Features(tokens=values, mask=torch.ones(count, tokens).bool(), frames=frames)


# ---- fusion ----------------------------------------------------------------------------------


def test_projected_image_tokens_stand_before_the_question():
    part, image, question = fusion(), features(2, 5, 4), features(2, 3, 6)
    out = part(image, question)
    linear, norm = part.project
    projected = F.layer_norm(
        image.tokens @ linear.weight.T + linear.bias, (6,), norm.weight, norm.bias, 1e-5
    )
    torch.testing.assert_close(out.tokens, torch.cat([projected, question.tokens], dim=1))
    assert (out.num_prefix, out.frames, part.out.dim) == (5, 0, 6)
    assert out.mask.all()


def test_padding_stays_padding():
    image, question = features(2, 2, 4), features(2, 3, 6)
    question.mask[1, 1:] = False
    out = fusion()(image, question)
    assert out.mask.tolist() == [[True] * 5, [True, True, True, False, False]]


def test_all_tokens_of_a_frame_share_its_embedding_before_the_projection():
    part, question = fusion(), features(1, 3, 6)
    film = features(1, 3 * 5, 4, frames=3)
    for number, time in enumerate(part.temporal):
        assert time.shape == (1, 1, 4)
        assert not time.any()  # learnt from zero
        time.data.fill_(float(number + 1))
    added = torch.cat([film.tokens[:, 5 * n : 5 * n + 5] + n + 1 for n in range(3)], dim=1)
    expected = part.project(added)
    out = part(film, question)
    torch.testing.assert_close(out.tokens[:, :15], expected)
    assert out.num_prefix == 15
    assert part.frames == 3


def test_a_picture_gets_no_embedding_of_a_frame():
    part, image, question = fusion(), features(2, 5, 4), features(2, 3, 6)
    before = part(image, question).tokens
    for time in part.temporal:
        time.data.fill_(9.0)
    assert torch.equal(part(image, question).tokens, before)


def test_a_film_of_fewer_frames_uses_the_first_embeddings():
    part, question = fusion(), features(1, 3, 6)
    part.temporal[2].data.fill_(float("nan"))
    assert part(features(1, 10, 4, frames=2), question).tokens.isfinite().all()


@pytest.mark.parametrize("frames", [0, 3])
def test_too_many_frames_are_refused(frames):
    with pytest.raises(IncompatibleError, match=rf"4 frames.*tells {frames} apart.*frames=4"):
        fusion(frames=frames)(features(1, 8, 4, frames=4), features(1, 3, 6))


def test_without_image_tokens_the_picture_is_not_there():
    part = fusion(image_tokens=False)
    question = features(2, 3, 6)
    out = part(features(2, 5, 4), question)
    assert torch.equal(out.tokens, question.tokens)
    assert out.num_prefix == 0
    assert not list(part.parameters())


def test_another_width_is_reached_by_a_linear_layer():
    part, question = fusion(dim=8), features(2, 3, 6)
    out = part(features(2, 5, 4), question)
    torch.testing.assert_close(out.tokens[:, 5:], part.project_question(question.tokens))
    assert part.out.dim == 8


# ---- the mask --------------------------------------------------------------------------------


def test_the_mask_is_full_over_images_and_causal_over_text():
    real = torch.ones(1, 6, dtype=torch.bool)
    expected = [  # 3 image tokens, then 3 text tokens; a row looks at the columns
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]
    assert seq2seq(real, 3)[0, 0].int().tolist() == expected


def test_nothing_sees_padding():
    real = torch.tensor([[True, True, True, False, True]])  # 2 image tokens, padded question
    expected = [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1],
    ]
    assert seq2seq(real, 2)[0, 0].int().tolist() == expected


def test_no_state_depends_on_what_the_mask_hides(model, fused):
    """Each later answer token, changed, changes no earlier state."""
    answer = torch.tensor([[5, 6, 7]] * 3)
    before = model.head.answer_states(fused, answer)
    for place in range(3):
        other = answer.clone()
        other[:, place] = 10
        after = model.head.answer_states(fused, other)
        assert torch.equal(after[:, : place + 1], before[:, : place + 1])
        assert not torch.isclose(after[:, place + 1], before[:, place + 1]).all(dim=1).any()


# ---- learning --------------------------------------------------------------------------------


def test_targets_are_the_answer_and_its_end(model):
    tokens = model.head.targets([example("a circle"), example("red")])["tokens"]
    (circle, red) = model.text_encoder.pieces(["a circle", "red"])
    assert tokens.tolist() == [[*circle, 3], [*red, 3, PADDING]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_only_answer_and_end_are_learnt_with_smoothed_labels(smoothing, folder):
    """Against one hand-made sequence without padding for each row."""
    model = build(folder, head={"label_smoothing": smoothing})
    losses = []
    for row, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS[2:5], strict=True)):
        (asked,) = model.text_encoder.pieces([question])
        (said,) = model.text_encoder.pieces([answer])
        ids = torch.tensor([[2, *asked, *said]])  # [CLS] question answer
        image = model.encode_image(pixels(3)[row : row + 1])
        text = model.text_encoder.encode_text(ids, ids > 0, frozenset())
        joined = model.fusion(image, text)
        count = image.tokens.shape[1]
        mask = torch.ones(joined.tokens.shape[1], joined.tokens.shape[1]).tril().bool()
        mask[:count, :count] = True
        x = joined.tokens
        for layer in model.head.layers:
            x, _ = layer(x, mask)
        log_probs = model.head.logits(x)[0].log_softmax(dim=1)
        start = count + len(asked)  # of the question's last token
        for place, token in enumerate([*said, 3]):
            row_probs = log_probs[start + place]
            losses.append(-(1 - smoothing) * row_probs[token] - smoothing * row_probs.mean())
    fused = model(pixels(3), QUESTIONS)
    model.head.training = True  # labels are smoothed in training only; dropout stays off
    found, _ = model.head.loss(fused, model.head.targets([example(a) for a in ANSWERS[2:5]]))
    torch.testing.assert_close(found, torch.stack(losses).mean())


@pytest.mark.parametrize("tied", [True, False])
def test_borrowed_embeddings_are_not_stored(tied, folder):
    stored = build(folder, head={"tied": tied}).head.state_dict()
    assert not any("embedding" in name for name in stored)
    assert ("output.weight" in stored) is not tied
    assert ("bias" in stored) is tied


def test_tied_scores_are_those_of_the_word_embeddings(model):
    states = torch.randn(2, 32)
    words = model.text_encoder.lend("token_embedding").weight
    torch.testing.assert_close(
        model.head.logits(states), states @ words.T + model.head.bias, rtol=1e-5, atol=1e-5
    )


def test_gradients_reach_every_part(model):
    model.set_trainable(["*"])
    model.train()
    fused = model(pixels(3), QUESTIONS)
    loss, _ = model.head.loss(fused, model.head.targets([example(a) for a in ANSWERS[:3]]))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_it_learns_on_the_small_encoder(tmp_path):
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder={"type": "words:tiny-clip", "args": {"dim": 64, "dropout": 0.0}},
        fusion={"type": "git", "args": {"frames": 2}},
        head={
            "type": "git-decoder",
            "args": {
                "layers": 2,
                "heads": 4,
                "hidden_dim": 128,
                "dropout": 0.0,
                "label_smoothing": 0.0,
            },
        },
        answers=ANSWERS,
    )
    height, width = model.image_encoder.spec.preprocess.size
    shown = torch.randn(8, 3, height, width)
    asked = ["what is this?"] * 4 + ["which color is the shape?"] * 4
    examples = [example(ANSWERS[number % len(ANSWERS)]) for number in range(8)]
    model.set_trainable(["text."])
    model.train()
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=3e-3)
    losses = []
    for _ in range(30):
        loss, _ = model.head.loss(model(shown, asked), model.head.targets(examples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    model.eval()
    with torch.no_grad():
        written = model.head.predict(model(shown, asked))
    save_checkpoint(model, tmp_path / "saved")
    loaded = load_checkpoint(tmp_path / "saved")
    with torch.no_grad():
        assert loaded.head.predict(loaded(shown, asked)) == written


# ---- writing ---------------------------------------------------------------------------------


def test_the_cache_changes_nothing(model, fused):
    """Against reading everything again for each token."""
    with torch.no_grad():
        answer = torch.empty(3, 0, dtype=torch.long)
        for _ in range(6):
            last = model.head.logits(model.head.answer_states(fused, answer)[:, -1])
            answer = torch.cat([answer, last.argmax(dim=1)[:, None]], dim=1)
    expected = []
    for row in answer.tolist():
        expected.append(model.text_encoder.decode(row[: row.index(3)] if 3 in row else row))
    found = [row[0].text for row in model.head.predict(fused, max_tokens=6)]
    assert found == expected


@pytest.mark.parametrize("decode", [{}, {"strategy": "beam"}, {"strategy": "nucleus"}])
@pytest.mark.parametrize("image_tokens", [True, False])
def test_a_padded_row_answers_as_it_does_alone(decode, image_tokens, folder):
    model = build(folder, {"image_tokens": image_tokens})
    with torch.no_grad():
        together = model.head.predict(model(pixels(3), QUESTIONS), **decode)
        for row, question in enumerate(QUESTIONS):
            (alone,) = model.head.predict(model(pixels(3)[row : row + 1], [question]), **decode)
            assert [one.text for one in alone] == [one.text for one in together[row]]
            assert alone[0].score == pytest.approx(together[row][0].score, rel=1e-4)


def test_the_score_is_the_probability_of_all_tokens(model, fused):
    (best, *_), *_ = model.head.predict(fused, top_k=3, max_tokens=4)
    assert best.score == pytest.approx(probability(model, fused, best.text, 0, cut=4), rel=1e-4)


def probability(model, fused, text, row, cut=99):
    """Of one answer, by the path that learning takes."""
    tokens = torch.tensor(model.head.spell([text]))[:, :cut]
    with torch.no_grad():
        states = model.head.answer_states(fused.index(slice(row, row + 1)), tokens[:, :-1])
        log_probs = model.head.logits(states)[0].log_softmax(dim=1)
    return log_probs.gather(1, tokens[0][:, None]).sum().exp().item()


@pytest.mark.parametrize("chunk", [1, 10, 10_000])
def test_ranking_equals_scoring_each_answer_by_itself(chunk, model, fused, monkeypatch):
    monkeypatch.setattr(decoder, "CHUNK", chunk)
    candidates = [*ANSWERS, "what ?", "", "is this a circle of the red color"]
    ranked = model.head.rank(fused, candidates, top_k=99)
    for row, answers in enumerate(ranked):
        scores = {text: probability(model, fused, text, row) for text in candidates}
        assert [one.text for one in answers] == sorted(scores, key=scores.get, reverse=True)
        for one in answers:
            assert one.score == pytest.approx(scores[one.text], rel=1e-4)
    assert [row[:2] for row in ranked] == model.head.rank(fused, candidates, top_k=2)


def test_nothing_cannot_be_ranked(model, fused):
    with pytest.raises(ConfigError, match="no answers to rank"):
        model.head.rank(fused, [])


def test_a_picture_is_described_without_a_question(model, picture):
    assert model.caption(picture, max_tokens=5) == model.caption(picture, max_tokens=5)
    ids, mask = model.text_encoder.tokenize(["", "what is this"])
    assert ids.tolist() == [[2, 0, 0, 0], [2, 5, 6, 7]]
    assert mask.tolist() == [[True, False, False, False], [True] * 4]


def test_without_image_tokens_every_picture_gets_the_same_answer(folder):
    model = build(folder, {"image_tokens": False})
    seen = build(folder)
    one, other = pixels(2)[:1], -3 * pixels(2)[1:]
    with torch.no_grad():
        for made, same in ((model, True), (seen, False)):
            first, _ = made.head.begin(made(one, QUESTIONS[:1]))
            second, _ = made.head.begin(made(other, QUESTIONS[:1]))
            assert torch.equal(first, second) is same


# ---- the encoder -----------------------------------------------------------------------------


def test_a_long_question_keeps_its_end(model):
    words = ["red", "blue", "circle", "shape", "color"] * 9  # 45
    (ids,), _ = model.text_encoder.tokenize([" ".join(words)])
    (all_ids,) = model.text_encoder.pieces([" ".join(words)])
    assert ids.tolist() == [2, *all_ids[-38:]]


def test_question_tokens_are_transformers_embeddings(folder, model):
    import transformers

    reference = transformers.GitModel.from_pretrained(folder).eval()
    ids, mask = model.text_encoder.tokenize(QUESTIONS)
    with torch.no_grad():
        expected = reference.embeddings(input_ids=ids)
        found = model.text_encoder.encode_text(ids, mask, frozenset({"tokens"}))
        later = model.text_encoder.lend("text_embedding")(ids[:, 2:], torch.full((3,), 2))
    torch.testing.assert_close(found.tokens, expected)
    torch.testing.assert_close(later, expected[:, 2:])


def test_image_tokens_are_transformers_states(folder, model):
    import transformers

    reference = transformers.GitModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = reference.image_encoder(pixels(2)).last_hidden_state
    found = model.encode_image(pixels(2))
    torch.testing.assert_close(found.tokens, expected)
    assert found.num_prefix == 1


def test_one_tower_can_be_used_alone(folder):
    made = vqazoo.create(
        image_encoder="tiny-clip", text_encoder=f"hf-git:{folder}", head=small(), answers=ANSWERS
    )
    assert not hasattr(made.text_encoder, "image_encoder")
    made = vqazoo.create(
        image_encoder=f"hf-git:{folder}",
        text_encoder="words:tiny-clip",
        head=small(),
        answers=ANSWERS,
    )
    assert not hasattr(made.image_encoder, "embeddings")
    with pytest.raises(IncompatibleError, match="lends no 'token_embedding'"):
        made.image_encoder.lend("token_embedding")


def small(**args):
    return {"type": "git-decoder", "args": {**SMALL, **args}}


# ---- refused ---------------------------------------------------------------------------------


def test_a_width_that_answers_do_not_have_is_refused(folder):
    with pytest.raises(IncompatibleError, match=r"width 16, but.*answers in width 32.*dim 0"):
        vqazoo.create(
            encoder=f"hf-git:{folder}",
            fusion={"type": "git", "args": {"dim": 16}},
            head=small(),
            answers=ANSWERS,
        )


def test_heads_that_do_not_divide_the_width_are_refused(folder):
    with pytest.raises(ConfigError, match=r"5 heads.*32.*try heads 4"):
        vqazoo.create(encoder=f"hf-git:{folder}", head=small(heads=5), answers=ANSWERS)


def test_a_text_encoder_without_text_embedding_is_refused():
    with pytest.raises(IncompatibleError, match="text_embedding"):
        vqazoo.create(encoder="tiny-clip", head=small(), answers=ANSWERS)


def test_a_question_that_leaves_no_place_for_its_answer_is_refused(tmp_path, picture):
    model = build(git(tmp_path / "short", max_position_embeddings=12), head={"longest": 6})
    asked = "what is this " * 3  # 9 tokens and [CLS]
    assert model.answer(picture, asked, max_tokens=3)  # writes 3, embeds 2
    with pytest.raises(QuestionError, match=r"10 tokens.*may take 4.*has 12 places"):
        model.answer(picture, asked, max_tokens=4)
    with pytest.raises(QuestionError, match="10 tokens"):
        model.rank(picture, asked, ["a red circle of blue"])
