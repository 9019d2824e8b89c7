"""A checkpoint folder comes back as the same model, or is refused in a sentence."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vqazoo
from tests.support.weights import unmapped
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint, saved_tensors
from vqazoo.errors import CheckpointError, ConfigError, UnknownNameError
from vqazoo.files import switch
from vqazoo.files.switch import recover
from vqazoo.files.writing import json_lines, write_folder
from vqazoo.interfaces import Preprocess
from vqazoo_tiny_clip.encoder import TinyCLIPEncoder

ANSWERS = ["red", "blue", "a circle", "yes", "no"]


def build(weights: str = "packaged", head: str = "lstm") -> vqazoo.VQAModel:
    torch.manual_seed(0)
    encoder = {"type": "tiny-clip", "args": {"weights": weights}}
    return vqazoo.create(encoder=encoder, head=head, answers=ANSWERS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(build(), tmp_path / "model")
    return tmp_path / "model"


def reseal(folder: Path, change) -> None:
    """Change config.json, and keep its digests true."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    for name in ("model.safetensors", "answers.json"):
        config["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("head", ["lstm", "gru", "mlp", "linear"])
@pytest.mark.parametrize("weights", ["packaged", "random"])
def test_a_loaded_model_answers_as_the_saved_one(tmp_path, picture, head, weights):
    model = build(weights, head)
    save_checkpoint(model, tmp_path / "model")
    loaded = vqazoo.load(f"dir:{tmp_path / 'model'}")
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    asked = "what color is it?"
    assert loaded.answer(picture, asked, top_k=3) == model.answer(picture, asked, top_k=3)


def test_a_frozen_pretrained_encoder_is_referenced_and_not_stored(folder):
    stored = unmapped(folder / "model.safetensors")
    assert stored
    assert not [name for name in stored if name.startswith("towers.")]
    tower = json.loads((folder / "config.json").read_text())["towers"]["both"]
    packaged = Path(sys.modules["vqazoo_tiny_clip"].__file__).parent / "weights/model.safetensors"
    assert tower["reference"]["sha256"] == hashlib.sha256(packaged.read_bytes()).hexdigest()


def test_borrowed_embeddings_are_not_stored_with_the_head(folder):
    assert not [n for n in unmapped(folder / "model.safetensors") if "embedding" in n]


def test_an_encoder_without_pretrained_weights_is_stored_whole(tmp_path):
    model = build("random")
    assert set(saved_tensors(model)) == set(model.state_dict())


def test_of_a_partly_trained_encoder_only_the_trained_tensors_are_stored(tmp_path, picture):
    model = build()
    model.set_trainable(["both.model.visual.layer4"])
    with torch.no_grad():
        model.towers["both"].model.visual.layer4[0].conv1.weight.mul_(1.5)
    save_checkpoint(model, tmp_path / "model")
    stored = [n for n in unmapped(tmp_path / "model/model.safetensors") if n.startswith("towers")]
    assert stored
    assert all(name.startswith("towers.both.model.visual.layer4") for name in stored)
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.answer(picture, "what is it?") == model.answer(picture, "what is it?")


def test_two_encoders_are_stored_and_loaded_as_two(tmp_path, picture):
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder={"type": "tiny-clip", "args": {"weights": "random"}},
        text_encoder="tiny-clip",
        head="mlp",
        answers=ANSWERS,
    )
    save_checkpoint(model, tmp_path / "model")
    prefixes = {n.split(".")[1] for n in saved_tensors(model) if n.startswith("towers.")}
    assert prefixes == {"image"}
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.answer(picture, "what is it?") == model.answer(picture, "what is it?")


# ---- refusals -------------------------------------------------------------------------------


def test_a_truncated_weights_file_is_refused(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="altered or cut off"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("head.output.bias"), "1 missing: head.output.bias"),
        (lambda t: t.update(extra=torch.zeros(2)), "1 left over: extra"),
        (lambda t: t.update({"head.output.bias": torch.zeros(3)}), "of another shape or dtype"),
        (
            lambda t: t.update({"head.output.bias": t["head.output.bias"].double()}),
            "of another shape or dtype",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_listed(folder, change, told):
    tensors = unmapped(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    reseal(folder, lambda config: None)
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(folder)


def test_a_newer_format_is_refused_with_the_release_that_reads_it(folder):
    reseal(folder, lambda config: config.update(format_version=99, vqazoo_version="7.3"))
    with pytest.raises(CheckpointError, match=r"format version 99.*install vqazoo 7\.3"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "x.pth", "vocab.pkl"])
def test_a_folder_with_a_pickle_is_refused(folder, name):
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=f"'{name}', a pickle"):
        load_checkpoint(folder)


def test_a_pickle_under_a_safetensors_name_is_refused(folder):
    torch.save({"a": torch.zeros(2)}, folder / "model.safetensors")
    reseal(folder, lambda config: None)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "answers.json"])
def test_a_folder_without_a_needed_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format_version": 1}'])
def test_a_broken_config_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="get the checkpoint again"):
        load_checkpoint(folder)


@pytest.mark.parametrize("key", ["fusion", "preprocess", "towers", "trainable", "sha256"])
def test_a_config_without_a_needed_key_is_refused(folder, key):
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"has no '{key}'"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(towers=[]), "'towers' is \\[\\], but a table"),
        (lambda c: c.update(trainable="*"), "but a list was expected"),
        (lambda c: c.update(towers={}), "unknown way"),
        (lambda c: c["towers"]["both"].pop("reference"), "unknown way"),
        (lambda c: c["preprocess"].pop("mean"), "unknown way"),
        (lambda c: c.update(head="lstm"), "'head' is 'lstm', but a table"),
    ],
)
def test_a_config_of_another_form_is_refused(folder, change, told):
    reseal(folder, change)
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(folder)


def test_answers_that_are_not_json_are_refused(folder):
    (folder / "answers.json").write_text("{")
    reseal(folder, lambda config: None)
    with pytest.raises(CheckpointError, match="not an answer list"):
        load_checkpoint(folder)


def test_a_config_that_names_an_unknown_part_is_refused(folder):
    reseal(folder, lambda config: config["head"].update(type="lstn"))
    with pytest.raises(UnknownNameError, match="Did you mean 'lstm'"):
        load_checkpoint(folder)


def test_a_config_can_not_name_a_class(folder):
    reseal(folder, lambda config: config["head"].update(type="os:system"))
    with pytest.raises(UnknownNameError, match="Unknown head 'os:system'"):
        load_checkpoint(folder)


def test_a_part_of_another_version_is_refused(folder):
    reseal(folder, lambda config: config["fusion"].update(version=2))
    with pytest.raises(ConfigError, match="version 2 of the fusion"):
        load_checkpoint(folder)


def test_other_encoder_weights_than_in_training_are_refused(folder):
    reseal(folder, lambda c: c["towers"]["both"]["reference"].update(sha256="0" * 64))
    with pytest.raises(CheckpointError, match="but the checkpoint was trained on 000000000000"):
        load_checkpoint(folder)


def test_an_encoder_that_is_built_differently_is_refused(folder):
    reseal(folder, lambda c: c["towers"]["both"].update(fingerprint="0" * 64))
    with pytest.raises(CheckpointError, match="other tensor names or shapes"):
        load_checkpoint(folder)


def test_other_preprocessing_than_in_training_is_refused(folder):
    reseal(folder, lambda c: c["preprocess"].update(size=[32, 32]))
    with pytest.raises(CheckpointError, match="prepares pixels as"):
        load_checkpoint(folder)


def test_an_answer_list_of_another_normaliser_is_refused(folder):
    answers = json.loads((folder / "answers.json").read_text())
    (folder / "answers.json").write_text(json.dumps({**answers, "normaliser": "other-v9"}))
    reseal(folder, lambda config: None)
    with pytest.raises(CheckpointError, match="not an answer list"):
        load_checkpoint(folder)


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(CheckpointError, match="no checkpoint folder 'nowhere'"):
        vqazoo.load("dir:nowhere")


# ---- saving never loses anything ------------------------------------------------------------


def test_a_full_disk_while_saving_leaves_the_old_checkpoint(folder, monkeypatch, picture):
    before = load_checkpoint(folder).answer(picture, "what is it?")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(build("random"), folder)
    monkeypatch.undo()
    assert load_checkpoint(folder).answer(picture, "what is it?") == before
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def kills(folder: Path, at: int) -> bool:
    """A child saves, and is killed at its `at`-th call to the file system; whether it came so far.

    Before and after the two folders change places counts too.
    """
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    try:
        torch.set_num_threads(1)  # the threads of OpenMP did not come along
        seen = 0

        def count(event: str, arguments: object) -> None:
            nonlocal seen
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "switch"):
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        real = switch.exchange

        def exchange(one: Path, other: Path) -> bool:
            sys.audit("switch")
            done = real(one, other)
            sys.audit("switch")
            return done

        switch.exchange = exchange
        sys.addaudithook(count)
        write_folder(folder, {"config.json": b"new", "more.json": b"new"})
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("exchanged", [True, False])
def test_a_kill_at_any_point_of_a_save_leaves_a_whole_checkpoint(tmp_path, monkeypatch, exchanged):
    """Wherever it is killed, the old or the new folder is read, and saving goes on."""
    if not exchanged:  # as on NFS
        monkeypatch.setattr(switch, "exchange", lambda one, other: False)
    folder, found, at = tmp_path / "model", [], 0
    while True:
        write_folder(folder, {"config.json": b"old", "more.json": b"old"})
        assert [file.name for file in tmp_path.iterdir()] == ["model"]
        killed = kills(folder, at)
        recover(folder)
        contents = {(folder / name).read_bytes() for name in ("config.json", "more.json")}
        assert len(contents) == 1
        found += contents
        if not killed:
            break
        at += 1
    assert set(found[:-1]) == {b"old", b"new"}  # of those that were killed
    assert found[-1] == b"new"


def test_pixels_of_another_colour_than_in_training_are_refused(folder):
    reseal(folder, lambda c: c["preprocess"].update(mean=[0.1, 0.2, 0.3]))
    with pytest.raises(CheckpointError, match="prepares pixels as"):
        load_checkpoint(folder)


def test_a_crop_that_an_older_release_understood_less_of_stays_as_in_training(folder, monkeypatch):
    """It knew no margins; what it took then was learnt from, where the size is the same."""
    make = TinyCLIPEncoder.__init__

    def with_margins(self, *args, **options):
        make(self, *args, **options)
        made = replace(self.spec.preprocess, margins="transformers")
        self.spec = self.spec.prepared(made)

    monkeypatch.setattr(TinyCLIPEncoder, "__init__", with_margins)
    said = Preprocess.from_json(json.loads((folder / "config.json").read_text())["preprocess"])
    assert load_checkpoint(folder).image_encoder.spec.preprocess == said
    reseal(folder, lambda c: c["preprocess"].update(size=[32, 32]))
    with pytest.raises(CheckpointError, match="prepares pixels as"):
        load_checkpoint(folder)


def test_a_log_holds_null_where_json_knows_no_number():
    entry = {
        "epoch": 1,
        "name": "a",
        "loss": 0.5,
        "of": [math.nan, {"deep": -math.inf}],
        "no": None,
    }
    (line,) = json_lines([entry]).decode().splitlines()
    read = {"epoch": 1, "name": "a", "loss": 0.5, "of": [None, {"deep": None}], "no": None}
    assert json.loads(line) == read
