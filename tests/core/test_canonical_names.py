"""One part has one name, however it was typed: in configs, signatures, files and towers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import vqazoo
from vqazoo.building import assemble, build_towers
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.cli import vqazoo as command
from vqazoo.config import run_config
from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import UnknownNameError
from vqazoo.evaluation.results import write_results
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer
from vqazoo.registry import Provider, Registry, registry
from vqazoo.training.loop import run

SPELLED = ["tiny-clip", "tiny_clip", "Tiny-CLIP", "vqazoo/tiny-clip", "VQAzoo/Tiny_Clip"]


def settings(table: Path, encoder: Any, text: Any, head: str, fusion: str, data: str) -> Any:
    return {
        "image_encoder": encoder,
        "text_encoder": text,
        "fusion": fusion,
        "head": head,
        "data": {"type": data, "args": {"train": str(table)}, "validation_fraction": 0.25},
        "training": {"epochs": 1, "batch_size": 18},
    }


@pytest.mark.parametrize("spelled", SPELLED)
def test_every_spelling_gives_one_model(spelled: str) -> None:
    plain = vqazoo.create(encoder="tiny-clip", head="lstm", answers=["red"])
    made = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder=spelled,
        head="vqazoo/LSTM",
        fusion="Concat",
        answers=["red"],
    )
    assert made.config == plain.config
    assert list(made.towers) == ["both"]


def test_a_run_writes_the_same_files_however_its_parts_are_spelled(
    table: Path, tmp_path: Path
) -> None:
    plain = settings(table, "tiny-clip", "tiny-clip", "mlp", "hadamard", "table")
    spelled = settings(table, "tiny-clip", "Tiny_CLIP", "MLP", "vqazoo/Hadamard", "vqazoo/TABLE")
    for name, given in (("plain", plain), ("spelled", spelled)):
        run(run_config(given), tmp_path / name, report=lambda line: None)
    for file in ("recipe.toml", "best/recipe.toml", "best/answers.json"):
        assert (tmp_path / "plain" / file).read_bytes() == (
            tmp_path / "spelled" / file
        ).read_bytes()
    first, second = (tmp_path / name / "best" for name in ("plain", "spelled"))
    configs = [json.loads((one / "config.json").read_text()) for one in (first, second)]
    for config in configs:  # safetensors writes its metadata in any order, so bytes may differ
        del config["sha256"]["model.safetensors"]
    assert configs[0] == configs[1]
    tensors = load_file(second / "model.safetensors")
    for name, tensor in load_file(first / "model.safetensors").items():
        assert torch.equal(tensor, tensors[name])
    signatures = [
        [
            one["signature"]
            for one in json.loads((tmp_path / name / "best/metrics.json").read_text())
        ]
        for name in ("plain", "spelled")
    ]
    assert signatures[0] == signatures[1]


@pytest.mark.parametrize("data", ["VizWiz", "vqazoo/vizwiz", "viz_wiz"])
def test_a_dataset_of_any_spelling_has_its_signature_and_its_submission(
    tmp_path: Path, data: str
) -> None:
    examples = [Example(Path("a.jpg"), "what?", ("red",) * 10, "a.jpg", answerable=True)]
    answers = [Answer("red", 0.5, answerable=0.75)]
    if data == "viz_wiz":  # which is another name
        with pytest.raises(UnknownNameError, match="Did you mean"):
            score(examples, answers, data, "val")
        return
    signatures = {one.signature for one in score(examples, answers, data, "val")}
    assert signatures == {one.signature for one in score(examples, answers, "vizwiz", "val")}
    write_results(tmp_path, data, examples, answers, seed=0)
    assert json.loads((tmp_path / "submission.json").read_text()) == [
        {"image": "a.jpg", "answer": "red"}
    ]
    assert (tmp_path / "submission-answerability.json").is_file()


@pytest.mark.parametrize("data", ["VizWiz", "vqazoo/vizwiz"])
def test_the_command_line_writes_the_submission_of_a_dataset_of_any_spelling(
    tmp_path: Path, data: str
) -> None:
    record = {
        "image": "a.jpg",
        "question": "what is it?",
        "answer_type": "other",
        "answerable": 1,
        "answers": [{"answer": "red", "answer_confidence": "yes"}] * 10,
    }
    (tmp_path / "val.json").write_text(json.dumps([record]))
    (tmp_path / "mine.csv").write_text("question_id,answer\na.jpg,red\n")
    done = CliRunner().invoke(
        command,
        [
            "eval",
            "--predictions",
            str(tmp_path / "mine.csv"),
            "--data",
            data,
            "--data-root",
            str(tmp_path),
            "--split",
            "val",
            "--out",
            str(tmp_path / "out"),
        ],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/submission.json").is_file()
    assert "data:vizwiz|" in (tmp_path / "out/metrics.json").read_text()


def test_two_plugins_of_one_name_stay_apart() -> None:
    made = Registry()
    first = made.provider("fusion", "concat")
    made._scan()["fusion"]["concat"] = [first, Provider("acme", "1.0", None, None, None)]
    assert made.canonical("fusion", "Acme/Concat") == "acme/concat"
    assert made.canonical("fusion", "VQAZOO/concat") == "vqazoo/concat"


def test_a_variant_keeps_its_spelling() -> None:
    assert registry.canonical("encoder", "Open_CLIP:ViT-B-32@openai") == "open-clip:ViT-B-32@openai"
    assert registry.canonical("dataset", "vqazoo/HF:Owner/Name_a") == "hf:Owner/Name_a"


def test_a_checkpoint_of_an_older_release_with_raw_names_loads_and_saves_again(
    tmp_path: Path,
) -> None:
    made = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["red", "blue"])
    towers = build_towers(made.config, apart=True)  # what two spellings of one name gave
    for encoder in towers.values():
        encoder.load_pretrained()
    model = assemble(made.config, towers, AnswerList.from_texts(["red", "blue"]))
    model.set_trainable(["text."])
    raw = replace(
        made.config,
        text_encoder=replace(made.config.text_encoder, type="Tiny_CLIP"),
        head=replace(made.config.head, type="vqazoo/MLP"),
    )
    model.config = raw
    save_checkpoint(model, tmp_path / "old")
    loaded = load_checkpoint(tmp_path / "old")
    assert loaded.config == made.config
    assert list(loaded.towers) == ["image", "text"]
    save_checkpoint(loaded, tmp_path / "new")
    again = load_checkpoint(tmp_path / "new")
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all((again.state_dict()[n] == t).all() for n, t in model.state_dict().items())


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_variant_that_names_an_encoder_has_one_spelling_too(spelled: str) -> None:
    assert registry.canonical("encoder", f"Words:{spelled}") == "words:tiny-clip"
    parts = {"image_encoder": "tiny-clip", "fusion": "med", "head": "med-decoder"}
    made = vqazoo.create(text_encoder=f"words:{spelled}", answers=["red"], **parts)
    assert made.config.text_encoder.type == "words:tiny-clip"
