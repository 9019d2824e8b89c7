"""Weights of nan are refused with their tensor's name, wherever weights come from or go to."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

import vqazoo
from tests.plugins.encoders.tiny import hf_text
from tests.support.weights import unmapped
from vqazoo.cli import run
from vqazoo.errors import CheckpointError, WeightsError
from vqazoo.publish.push import push
from vqazoo.toolkit.finite import bounded_names, check_finite, strange

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WORDS = ["red", "blue", "circle"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[torch.dtype, Path]:
    """A checkpoint of each dtype."""
    folder = tmp_path_factory.mktemp("finite")
    for dtype in DTYPES:
        model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=WORDS)
        model.to(dtype).save(folder / str(dtype))
    return {dtype: folder / str(dtype) for dtype in DTYPES}


@pytest.fixture
def model(whole, tmp_path: Path) -> Path:
    shutil.copytree(whole[torch.float32], tmp_path / "model")
    return tmp_path / "model"


def spoil(folder: Path, value: float) -> str:
    """Put a value into the last place of one tensor, with true digests; the tensor's name."""
    file = folder / "model.safetensors"
    tensors = unmapped(file)
    floating = [one for one in tensors if tensors[one].is_floating_point()]
    name = max(floating, key=lambda one: tensors[one].numel())
    tensors[name].view(-1)[-1] = value
    content = save(tensors, {"format": "pt"})
    file.write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"][file.name] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    return name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_checkpoint_with_such_a_weight_is_not_complete_and_does_not_answer(
    whole, value, dtype, picture, tmp_path, capsys
) -> None:
    shutil.copytree(whole[dtype], model := tmp_path / "model")
    assert run(["check", str(model)]) == 0
    capsys.readouterr()
    name = spoil(model, value)
    kind = "nan" if math.isnan(value) else "inf"
    for verb in (["check", model], ["ask", f"dir:{model}", picture, "what?", "--json"]):
        assert run(list(map(str, verb))) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert f"The tensor '{name}' of '{model / 'model.safetensors'}' holds {kind}" in err


def test_a_model_of_nan_is_not_published(model) -> None:
    name = spoil(model, math.nan)
    with pytest.raises(CheckpointError, match=name):
        push(model, "ada/model", dry_run=True)


def test_a_model_of_nan_is_not_saved_and_the_older_one_stays(model) -> None:
    before = (model / "model.safetensors").read_bytes()
    broken = vqazoo.load(f"dir:{model}")
    with torch.no_grad():
        next(broken.head.parameters()).view(-1)[0] = math.nan
    with pytest.raises(CheckpointError, match="of the model holds nan"):
        broken.save(model)
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_encoder_with_such_weights_is_refused_by_its_name(value, tmp_path) -> None:
    bert = hf_text(tmp_path / "bert", "bert")
    parts = {"image_encoder": "tiny-clip", "text_encoder": f"hf-text:{bert}", "head": "mlp"}
    vqazoo.create(**parts, answers=WORDS).save(tmp_path / "model")
    tensors = unmapped(bert / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][0, 0] = value
    save_file(tensors, bert / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"word_embeddings\.weight' of the encoder 'hf-text:"):
        vqazoo.create(**parts, answers=WORDS)
    with pytest.raises(WeightsError, match=r"word_embeddings\.weight' of the encoder 'hf-text:"):
        vqazoo.load(f"dir:{tmp_path / 'model'}")


def test_a_mask_of_minus_infinity_is_a_buffer_that_models_keep() -> None:
    part = nn.Module()
    part.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))
    part.norm = nn.BatchNorm1d(3)
    check_finite(part.state_dict(), "it", "", bounded_names(part))
    part.norm.running_var[1] = math.inf
    with pytest.raises(CheckpointError, match=r"'norm\.running_var' of it holds inf"):
        check_finite(part.state_dict(), "it", "", bounded_names(part))
    part.norm.running_var[1] = 1.0
    part.mask[0, 0] = math.nan
    with pytest.raises(CheckpointError, match="'mask' of it holds nan"):
        check_finite(part.state_dict(), "it", "", bounded_names(part))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("place", [0, 1, 63, 64, 4097, -1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.0])
def test_one_strange_value_is_found_wherever_it_stands(value, place, dtype) -> None:
    tensor = torch.randn(5001).to(dtype)
    tensor[place] = value
    assert strange(tensor) == ("nan" if math.isnan(value) else "inf" if math.isinf(value) else "")
    spread = torch.stack([tensor, tensor], dim=1)[:, 1]  # with gaps between its values
    assert strange(spread) == strange(tensor)


def test_what_has_no_such_values_passes() -> None:
    largest = torch.full((2,), torch.finfo(torch.float16).max, dtype=torch.float16)
    for tensor in (torch.empty(0), torch.tensor([1, 2]), torch.tensor(True), largest):
        assert strange(tensor) == ""
