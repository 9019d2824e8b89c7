"""Large weights that were found to be numbers are not looked at again, until they change."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file, save_file

import vqazoo
from tests.plugins.encoders.tiny import hf_text
from vqazoo.errors import WeightsError
from vqazoo.files import known_digests, known_finite
from vqazoo.files.known_digests import reading_all
from vqazoo.toolkit import finite
from vqazoo.toolkit.finite import check_pretrained


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VQAZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(known_digests, "SETTLED", -1.0)
    monkeypatch.setattr(known_digests, "LEAST", 1)
    return hf_text(tmp_path / "bert", "bert")


@pytest.fixture
def looks(monkeypatch):
    """How many tensors are looked at."""
    counted = []
    real = finite.strange
    monkeypatch.setattr(finite, "strange", lambda tensor: (counted.append(1), real(tensor))[1])
    return counted


def encoder_of(folder, text="hf-text"):
    name = f"{text}:{folder}"
    return vqazoo.create(
        image_encoder="tiny-clip", text_encoder=name, head="mlp", answers=["red", "blue"]
    ).text_encoder


def spoilt(folder, place=0):
    """One nan among the weights; size and time of the file are those of before."""
    file = folder / "model.safetensors"
    before = os.stat(file)
    tensors = load_file(file)
    name = sorted(tensors)[place]
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_second_load_does_not_look(folder, looks):
    encoder_of(folder)
    first = len(looks)
    again = encoder_of(folder)
    assert first > 0
    assert len(looks) < 2 * first
    before = len(looks)
    check_pretrained(again, f"hf-text:{folder}")
    assert len(looks) == before


def test_a_nan_that_came_since_is_refused_each_time(folder):
    encoder_of(folder)
    spoilt(folder)
    for _ in range(2):
        with pytest.raises(WeightsError, match="holds nan"):
            encoder_of(folder)


def test_another_encoder_another_release_and_check_look_themselves(folder, looks, monkeypatch):
    encoder, name = encoder_of(folder), f"hf-text:{folder}"
    ways = {
        "another": lambda: check_pretrained(encoder, "hf-lm:x"),
        "reading all": lambda: check_pretrained(encoder, name),
        "release": lambda: check_pretrained(encoder, name),
    }
    for way, look in ways.items():
        before = len(looks)
        if way == "reading all":
            with reading_all():
                look()
        else:
            if way == "release":
                monkeypatch.setattr(known_finite, "__version__", "9.9")
            look()
        assert len(looks) > before, way
