"""TinyCLIP is open_clip's architecture, encodes any text, and knows what its card says."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import vqazoo_tiny_clip
from vqazoo.errors import DataError, TrainingError
from vqazoo.files.locks import held
from vqazoo.registry import registry
from vqazoo.testing import check_encoder
from vqazoo_tiny_clip import pretrain as pretraining
from vqazoo_tiny_clip.measuring import HELD_OUT_SEED, encode_pictures, encode_texts, measure
from vqazoo_tiny_clip.model import TinyCLIP, TinyCLIPConfig
from vqazoo_tiny_clip.pretrain import contrastive_loss, pretrain, render_batch, write_pictures
from vqazoo_tiny_clip.render import COLOURS, SHAPES, SIZE, Scene, Shape, draw_scene, write_caption

WEIGHTS = Path(vqazoo_tiny_clip.__file__).parent / "weights"
TOWERS = frozenset({"image", "text"})
BOTH = frozenset({"pooled", "tokens"})


@pytest.fixture(scope="module")
def encoder():
    encoder = registry.build("encoder", "tiny-clip", None, TOWERS, weights="packaged")
    encoder.load_pretrained()
    return encoder.eval()


def test_the_packaged_encoder_keeps_the_contract(encoder):
    check_encoder(encoder, registry.manifest("encoder", "tiny-clip"))


def test_outputs_equal_open_clip_with_the_same_tensors(encoder):
    open_clip_model = pytest.importorskip("open_clip.model")
    config = TinyCLIPConfig()
    model = open_clip_model.CLIP(
        config.embed_dim,
        open_clip_model.CLIPVisionCfg(
            layers=config.image_layers,
            width=config.image_width,
            head_width=config.head_width,
            image_size=config.image_size,
        ),
        open_clip_model.CLIPTextCfg(
            context_length=config.context_length,
            vocab_size=config.vocab_size,
            width=config.text_width,
            heads=config.text_width // config.head_width,
            layers=config.text_layers,
        ),
    ).eval()
    model.load_state_dict(encoder.model.state_dict(), strict=True)
    images, questions = torch.randn(4, 3, 64, 64), ["what is it?", "a red circle", "é 漢 🙂", "a"]
    ids, mask = encoder.tokenize(questions)
    full = torch.nn.functional.pad(ids, (0, config.context_length - ids.shape[1]))
    with torch.no_grad():
        image = encoder.encode_image(images, BOTH)
        question = encoder.encode_text(ids, mask, BOTH)
        torch.testing.assert_close(
            image.pooled, model.encode_image(images, normalize=True), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            question.pooled, model.encode_text(full, normalize=True), rtol=1e-4, atol=1e-5
        )
        found = model.visual.forward_intermediates(images, output_fmt="NCHW")
        third = found["image_intermediates"][-2].flatten(2).transpose(1, 2)
        torch.testing.assert_close(image.tokens, third, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "text", ["a red circle", "what's that?", "漢字 🙂 naïve", "UPPER  case", ""]
)
def test_any_text_is_encoded_without_loss(encoder, text):
    (ids,) = encoder.pieces([text])
    assert encoder.decode(ids) == " ".join(text.lower().split(" ")).strip()
    assert not {encoder.start_id, encoder.end_id, encoder.codec.pad_id} & set(ids)


def test_a_text_that_is_too_long_keeps_its_end_token(encoder):
    ids, mask = encoder.tokenize(["circle " * 500, "a"])
    assert ids.shape == mask.shape == (2, 64)
    assert ids[0, -1] == encoder.end_id
    assert mask.sum(dim=1).tolist() == [64, 3]


def test_sizes_stay_small(encoder):
    assert sum(p.numel() for p in encoder.parameters()) <= 6_000_000
    assert (WEIGHTS / "model.safetensors").stat().st_size < 5_000_000


# ---- what it learnt -------------------------------------------------------------------------


@pytest.mark.proof
def test_the_recorded_figures_are_those_of_the_packaged_weights(encoder):
    """Measured again here, on the same held-out pictures; rounding of float16 aside."""
    recorded = json.loads((WEIGHTS / "figures.json").read_text())
    found = measure(encoder.model, encoder.codec, seed=recorded["options"]["seed"])
    for name, value in recorded["retrieval"].items():
        assert found["retrieval"][name] == pytest.approx(value, abs=0.01)
    for name, result in recorded["zero_shot"].items():
        assert found["zero_shot"][name]["accuracy"] == pytest.approx(result["accuracy"], abs=0.01)
        assert result["accuracy"] > 2 * result["chance"]


def test_the_caption_of_a_picture_is_nearer_than_a_wrong_one(encoder):
    scene = Scene((250, 250, 250), (Shape("triangle", "teal", COLOURS["teal"], 12, 12, 7, 7),))
    texts = [
        "a teal triangle at the top left",
        "a teal triangle at the bottom right",
        "a red triangle at the top left",
        "a teal circle at the top left",
    ]
    with torch.no_grad():
        image = encode_pictures(encoder.model, [scene.paint()])
        similarity = image @ encode_texts(encoder.model, encoder.codec, texts).T
    assert similarity.argmax().item() == 0


# ---- rendering ------------------------------------------------------------------------------


def test_rendering_is_decided_by_the_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_pictures(tmp_path / name, 5, seed)
    a, b, c = ({file.name: file.read_bytes() for file in (tmp_path / n).iterdir()} for n in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert a != c
    assert len(a["captions.jsonl"].splitlines()) == 5


def test_captions_never_tell_of_the_pictures_of_another_seed(tmp_path, monkeypatch):
    """A second writing that is cut off has overwritten some pictures; a third one starts anew."""
    write_pictures(tmp_path / "cut", 5, 1)
    real, painted = pretraining.write_caption, []

    def interrupted(rng, scene):
        painted.append(scene)
        if len(painted) == 3:
            raise KeyboardInterrupt
        return real(rng, scene)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "write_caption", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_pictures(tmp_path / "cut", 5, 2)
    assert not (tmp_path / "cut/captions.jsonl").exists()
    for name in ("cut", "whole"):
        write_pictures(tmp_path / name, 5, 2)
    cut, whole = (
        {f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ("cut", "whole")
    )
    assert cut == whole


def test_of_two_that_write_pictures_into_a_folder_one_is_refused(tmp_path):
    with locked_by_another(tmp_path / ".lock"), pytest.raises(DataError, match="being written by"):
        write_pictures(tmp_path, 5, 1)
    assert not list(tmp_path.glob("*.png"))


@contextlib.contextmanager
def locked_by_another(lock):
    taken, done = threading.Event(), threading.Event()

    def hold():
        with held(lock):
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(60)
    yield
    done.set()
    thread.join()


def test_held_out_pictures_are_not_the_training_ones():
    train, held_out = random.Random(0), random.Random(HELD_OUT_SEED)
    scenes = [{repr(draw_scene(rng)) for _ in range(500)} for rng in (train, held_out)]
    assert not scenes[0] & scenes[1]


def test_pictures_show_the_objects_that_captions_name():
    rng = random.Random(3)
    for _ in range(200):
        scene = draw_scene(rng)
        values = np.asarray(scene.paint())
        for one in scene.objects:
            shown = (values == np.array(one.rgb)).all(axis=2)
            area = shown[
                max(0, int(one.y - one.half_height)) : int(one.y + one.half_height) + 2,
                max(0, int(one.x - one.half_width)) : int(one.x + one.half_width) + 2,
            ]
            assert area.any(), one
            assert 0 <= one.x <= SIZE
            assert 0 <= one.y <= SIZE


def test_captions_are_true_of_their_scene():
    rng = random.Random(4)
    for _ in range(2000):
        scene = draw_scene(rng)
        caption = write_caption(rng, scene)
        question, _, answer = caption.partition("? ")
        names = {one.name for one in scene.objects}
        colours = {one.colour for one in scene.objects}
        if not answer:
            said = {c for c in COLOURS if f" {c} " in f" {caption} "}
            assert said <= colours, caption
            assert {n for n in SHAPES if n in caption} <= names, caption
        elif answer in ("yes", "no"):
            about = {*COLOURS, *SHAPES} & set(question.split())
            negated = " no" in question  # "is no", "is there no", "not"
            assert (answer == "yes") == (bool(about & (names | colours)) != negated), caption
        elif answer in COLOURS:
            assert answer in colours, caption


# ---- pretraining ----------------------------------------------------------------------------


@pytest.mark.proof
def test_pretraining_lowers_the_loss_and_repeats_with_its_seed(tmp_path):
    lines: list[str] = []
    for name in "ab":
        figures = pretrain(tmp_path / name, 12, 32, 2e-3, 0, lines.append)
        assert figures["options"]["steps"] == 12
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert (tmp_path / "a/loss.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "a/log.jsonl").read_text().splitlines()[-1])["step"] == 12


def test_the_contrastive_loss_is_the_symmetric_cross_entropy_worked_by_hand(encoder):
    torch.manual_seed(0)
    model = TinyCLIP(TinyCLIPConfig()).eval()
    images, captions = render_batch(random.Random(0), 4)
    captions[3] = captions[0]  # an equal caption is a second right answer
    with torch.no_grad():
        loss = contrastive_loss(model, encoder.codec, images, captions)
        image = model.encode_image(images).double()
        text = encode_texts(model, encoder.codec, captions).double()
        logits = model.logit_scale.exp().double() * image @ text.T
    same = np.array([[a == b for b in captions] for a in captions], dtype=float)
    target = same / same.sum(axis=1, keepdims=True)
    by_hand = 0.0
    for scores in (logits.numpy(), logits.T.numpy()):
        log_probability = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        by_hand -= (target * log_probability).sum(axis=1).mean() / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)


def test_a_few_steps_on_one_batch_lower_the_loss(encoder):
    torch.manual_seed(0)
    model = TinyCLIP(TinyCLIPConfig())
    images, captions = render_batch(random.Random(0), 16)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        loss = contrastive_loss(model, encoder.codec, images, captions)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_weights_and_losses_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch):
    real, steps = torch.optim.AdamW.step, []

    def breaking(self, *args, **kwargs):
        done = real(self, *args, **kwargs)
        steps.append(1)
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(torch.nan)
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    with pytest.raises(TrainingError, match="nan or infinite after step 1"):
        pretrain(tmp_path / "last", 1, 8, 2e-3, 0, len)
    assert not (tmp_path / "last/model.safetensors").exists()
    with pytest.raises(TrainingError, match="The loss is nan in step 2"):
        pretrain(tmp_path / "first", 2, 8, 2e-3, 0, len)
