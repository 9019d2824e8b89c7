"""Configs and tokenizers are pinned with the weights: by commit on the Hub, by SHA-256 anywhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch

import vqazoo
from tests.plugins.encoders.test_hub_cache import COMMIT, OTHER, cache, put  # noqa: F401
from tests.plugins.encoders.tiny import hf_clip, hf_text, open_clip_configs, register_open_clip
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError
from vqazoo.model import VQAModel

IMAGE = "tiny-clip"
QUESTION = ["what is the color of the circle?"]


def saved(folder: Path, encoder: str) -> Path:
    model = vqazoo.create(
        image_encoder=IMAGE, text_encoder=encoder, fusion="concat", head="mlp", answers=["a", "b"]
    )
    save_checkpoint(model, folder)
    return folder


def recorded(folder: Path, tower: str = "text") -> dict[str, dict[str, str]]:
    config = json.loads((folder / "config.json").read_text())
    return {one["file"]: one for one in config["towers"][tower]["files"]}


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def swapped_words(file: Path) -> None:
    """A tokenizer in which two words have each other's id."""
    content = json.loads(file.read_text())
    words = content["model"]["vocab"]
    words["red"], words["blue"] = words["blue"], words["red"]
    file.write_text(json.dumps(content))


@pytest.fixture
def bert(tmp_path) -> Path:
    return hf_text(tmp_path / "bert", "bert")


def test_a_tokenizer_that_changed_is_named(bert, tmp_path):
    folder = saved(tmp_path / "model", f"hf-text:{bert}")
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= recorded(folder).keys()
    load_checkpoint(folder)
    swapped_words(bert / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"The file 'tokenizer\.json' of the encoder 'hf-te"):
        load_checkpoint(folder)


def test_every_file_that_is_read_is_held_and_no_other(bert, tmp_path):
    folder = saved(tmp_path / "model", f"hf-text:{bert}")
    (bert / "README.md").write_text("another card")
    (bert / "train_results.json").write_text("{}")
    load_checkpoint(folder)
    before = (bert / "tokenizer_config.json").read_bytes()
    edit(bert / "tokenizer_config.json", do_lower_case=False)
    with pytest.raises(CheckpointError, match=r"'tokenizer_config\.json'"):
        load_checkpoint(folder)
    (bert / "tokenizer_config.json").write_bytes(before)
    (bert / "added_tokens.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"also reads 'added_tokens\.json of file:"):
        load_checkpoint(folder)
    (bert / "added_tokens.json").unlink()
    load_checkpoint(folder)


def test_a_processor_that_changed_is_named(tmp_path):
    clip = hf_clip(tmp_path / "clip", "clip")
    both = vqazoo.create(encoder=f"hf-clip:{clip}", head="mlp", answers=["a"])
    save_checkpoint(both, tmp_path / "both")
    read = recorded(tmp_path / "both", "both")
    assert {"preprocessor_config.json", "tokenizer.json"} <= read.keys()
    edit(clip / "preprocessor_config.json", image_mean=[0.1, 0.2, 0.3])
    with pytest.raises(CheckpointError, match=r"'preprocessor_config\.json'"):
        load_checkpoint(tmp_path / "both")


def test_a_checkpoint_of_before_says_nothing_of_files_and_loads(bert, tmp_path):
    folder = saved(tmp_path / "model", f"hf-text:{bert}")
    config = json.loads((folder / "config.json").read_text())
    for tower in config["towers"].values():
        del tower["files"]
    (folder / "config.json").write_text(json.dumps(config))
    swapped_words(bert / "tokenizer.json")
    load_checkpoint(folder)


def test_files_that_are_no_table_are_told(bert, tmp_path):
    folder = saved(tmp_path / "model", f"hf-text:{bert}")
    config = json.loads((folder / "config.json").read_text())
    for wrong in (5, [5], [{"file": "tokenizer.json"}], {"a": 1}):
        config["towers"]["text"]["files"] = wrong
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match="in an unknown way"):
            load_checkpoint(folder)


# ---- a tokenizer of a third repository ------------------------------------------------------


@pytest.fixture
def foreign(cache, bert, tmp_path) -> Path:  # noqa: F811
    """An open_clip architecture whose tokenizer and text config are in other repositories, as those
    of SigLIP, CLIPA, MetaCLIP 2 and NLLB-CLIP are; the place of the tokenizer's snapshots."""
    words = tmp_path / "words"
    words.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert / name, words)
    put(cache, "acme/words", words)
    put(cache, "acme/bert", bert)
    configs = tmp_path / "configs"
    configs.mkdir()
    config = open_clip_configs(tmp_path)["tiny-hf-text"]
    config["text_cfg"] |= {"hf_model_name": "acme/bert", "hf_tokenizer_name": "acme/words"}
    (configs / "tiny-foreign.json").write_text(json.dumps(config))
    open_clip.add_model_config(configs)
    return cache / "models--acme--words"


@pytest.fixture
def model(foreign, tmp_path) -> VQAModel:
    own = vqazoo.create(
        encoder="open-clip:tiny-foreign", head="mlp", answers=["a", "b"], pretrained=False
    )
    save_checkpoint(own, tmp_path / "model")
    return own


def test_a_tokenizer_of_a_third_repository_is_pinned(model, foreign, bert, tmp_path):
    files = recorded(tmp_path / "model", "both")
    assert {(one["source"], one["revision"]) for one in files.values()} == {
        ("acme/words", COMMIT),
        ("acme/bert", COMMIT),
    }
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "words", moved)
    swapped_words(moved / "tokenizer.json")
    put(foreign.parent, "acme/words", moved, OTHER)
    ids = model.text_encoder.tokenize(["red"])[0]
    assert torch.equal(load_checkpoint(tmp_path / "model").text_encoder.tokenize(["red"])[0], ids)
    fresh = vqazoo.create(
        encoder="open-clip:tiny-foreign", head="mlp", answers=["a", "b"], pretrained=False
    )
    assert not torch.equal(fresh.text_encoder.tokenize(["red"])[0], ids)


def test_a_tokenizer_that_changed_under_its_commit_is_named(model, foreign, tmp_path):
    swapped_words(foreign / "snapshots" / COMMIT / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"The file 'tokenizer\.json' of the encoder 'open-c"):
        load_checkpoint(tmp_path / "model")


def test_the_tokens_are_those_of_open_clips_own_tokenizer(model, bert):
    from open_clip.tokenizer import HFTokenizer

    ids, mask = model.text_encoder.tokenize(QUESTION)
    wanted = HFTokenizer(str(bert), context_length=16)(QUESTION)
    assert torch.equal(ids, wanted[:, : ids.shape[1]])
    assert mask.all()


def test_clips_own_vocabulary_is_held_too(tmp_path):
    register_open_clip(tmp_path)
    model = vqazoo.create(encoder="open-clip:tiny-vit", head="mlp", answers=["a"], pretrained=False)
    save_checkpoint(model, tmp_path / "model")
    (file,) = recorded(tmp_path / "model", "both").values()
    assert (file["kind"], file["source"]) == ("package", "open_clip_torch")
