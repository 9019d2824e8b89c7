"""Folders whose tensors have the model's own names are filled without transformers' renaming."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.plugins.encoders.tiny import hf_text
from vqazoo.registry import registry
from vqazoo.toolkit.transformers import AS_NAMED

transformers = pytest.importorskip("transformers")

KINDS = ["bert", "distilbert"]


def loaded(folder):
    encoder = registry.build("encoder", f"hf-text:{folder}", str(folder), frozenset({"text"}))
    encoder.load_pretrained()
    return encoder.model.state_dict()


def asked_for(monkeypatch) -> list[str]:
    """Names the models that transformers is asked to load."""
    asked = []
    real = transformers.PreTrainedModel.from_pretrained.__func__

    def from_pretrained(cls, *args, **kwargs):
        asked.append(cls.__name__)
        return real(cls, *args, **kwargs)

    monkeypatch.setattr(
        transformers.PreTrainedModel, "from_pretrained", classmethod(from_pretrained)
    )
    return asked


@pytest.mark.parametrize("kind", AS_NAMED)
def test_transformers_renames_nothing_of_these_types(kind):
    mapping = pytest.importorskip("transformers.conversion_mapping")
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(kind))
    assert mapping.get_model_conversion_mapping(model, add_legacy=False) == []


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_what_transformers_loads(tmp_path, monkeypatch, kind):
    folder = hf_text(tmp_path / kind, kind)
    wanted = transformers.AutoModel.from_pretrained(folder).state_dict()
    asked = asked_for(monkeypatch)
    found = loaded(folder)
    assert asked == []
    assert found.keys() == {name for name in wanted if not name.startswith("pooler.")}
    for name, tensor in found.items():
        assert torch.equal(tensor, wanted[name]), name


def half(tensors):
    return {name: tensor.half() for name, tensor in tensors.items()}


def old(tensors):
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
    }
    return renamed


def within(tensors):
    return {f"bert.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("change", [half, old, within])
def test_other_names_and_types_of_numbers_are_left_to_transformers(tmp_path, monkeypatch, change):
    folder = hf_text(tmp_path / "bert", "bert")
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    wanted = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).state_dict()
    asked = asked_for(monkeypatch)
    found = loaded(folder)
    assert asked == ["BertModel"]
    for name, tensor in found.items():
        assert torch.equal(tensor, wanted[name]), name
