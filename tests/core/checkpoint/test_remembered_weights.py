"""A folder whose digests are remembered is refused as before when its weights changed."""

from __future__ import annotations

import json
import os

import pytest
import torch

import vqazoo
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.cli import run
from vqazoo.errors import CheckpointError
from vqazoo.files import known_digests
from vqazoo.files.writing import cache_home


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(known_digests, "SETTLED", -1.0)
    monkeypatch.setattr(known_digests, "LEAST", 1)
    torch.manual_seed(0)
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["red", "blue"])
    save_checkpoint(model, tmp_path / "model")
    return tmp_path / "model"


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def change(file, place=-1):
    """Another byte at a place of the file, of the same size at the same time of change."""
    before = os.stat(file)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    with file.open("r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_it_loads_as_the_model_it_was(folder):
    first = state(load_checkpoint(folder))
    again = state(load_checkpoint(folder))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_changed_byte_is_refused_though_size_and_time_are_as_before(folder):
    load_checkpoint(folder)
    change(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="altered or cut off"):
        load_checkpoint(folder)


def test_a_change_of_a_loaded_models_file_does_not_reach_the_model(folder):
    load_checkpoint(folder)
    model = load_checkpoint(folder)
    before = state(model)
    change(folder / "model.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_check_reads_the_file_whatever_is_remembered_of_it(folder, capsys):
    change(folder / "model.safetensors")
    memory = cache_home() / known_digests.KNOWN
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    said = json.loads((folder / "config.json").read_text())["sha256"]["model.safetensors"]
    stamps = known_digests.stamps([folder / "model.safetensors"])
    memory.parent.mkdir(exist_ok=True)
    memory.write_text(json.dumps({str(folder / "model.safetensors"): [*stamps, said]}))
    load_checkpoint(folder)  # as if the disk had changed it
    assert run(["check", str(folder)]) != 0
    assert "altered or cut off" in capsys.readouterr().err


def test_a_file_replaced_while_it_is_read_is_refused(folder, monkeypatch):
    load_checkpoint(folder)
    from vqazoo.checkpoint import folder as reading

    def replaced(file):
        tensors = read(file)
        change(file)
        return tensors

    read = reading.mapped
    monkeypatch.setattr(reading, "mapped", replaced)
    with pytest.raises(CheckpointError, match=r"replaced while it was read|altered or cut off"):
        load_checkpoint(folder)
