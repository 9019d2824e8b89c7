"""Published checkpoints trained further, by the words of docs/about/families.md, and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import vqazoo
from tests.core.training.test_training_options import interrupted, same, train
from tests.whole.families.published import PUBLISHED
from tests.whole.hub.models import contents
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.cli import vqazoo as command
from vqazoo.errors import CheckpointError, ConfigError
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo.training.settings import gather_config

REPOS = list(PUBLISHED)
VILT = "dandelin/vilt-b32-finetuned-vqa"
QUESTIONS = ["what is this", "is the circle red"]
STILL = {"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0, "batch_size": 9}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Twelve questions about four pictures, in words that every tiny model can spell."""
    rows = ["image,question,answer"]
    for number in range(4):
        noise = torch.randint(0, 256, (48, 64, 3), generator=torch.Generator().manual_seed(number))
        Image.fromarray(noise.to(torch.uint8).numpy()).save(tmp_path / f"{number}.png")
        for question, answer in (("what is this", "red"), ("is it red", "no"), ("what", "red")):
            rows.append(f"{number}.png,{question},{answer}")
    (tmp_path / "asked.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "asked.csv"


def finetune(
    asked: Path, out: Path, ref: str, lines: list[str] | None = None, **training: Any
) -> Any:
    config = {
        "data": {"type": "table", "args": {"train": str(asked)}, "validation_fraction": 0.25},
        "training": {"start": ref, **STILL, "device": "cpu", **training},
    }
    said = (lambda line: None) if lines is None else lines.append
    return vqazoo.train(out=out, config=config, report=said)


def told(model: VQAModel, pictures: list[Path], **decode: Any) -> list[Answer]:
    """Answers to the questions; of a captioner, which reads none, captions."""
    if model.config.fusion.type == "image-tokens":
        return cast("list[Answer]", model.caption(pictures, **decode))
    return model.answer(pictures, QUESTIONS, **decode)


def alike(first: Any, second: Any) -> None:
    assert [one.text for one in first] == [one.text for one in second]
    for one, other in zip(first, second, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)


@pytest.mark.parametrize("repo", [repo for repo in REPOS if repo != VILT])
def test_a_run_starts_as_the_published_model_with_its_parts(
    hub: Any, published: dict[str, Path], repo: str, asked: Path, tmp_path: Path
) -> None:
    commit = hub.add_repo(repo, contents(published[repo]))
    original = vqazoo.load(f"hub:{repo}")
    lines: list[str] = []
    model = finetune(asked, tmp_path / "run", f"hub:{repo}", lines)
    assert model.config == original.config
    assert model.config.image_encoder.type.endswith(f":{repo}@{commit}")
    pictures = [asked.parent / "0.png", asked.parent / "1.png"]
    # GIT writes no more than the longest answer learnt, unless told otherwise.
    decode = {"max_tokens": 6} if "git" in repo else {}
    alike(told(model, pictures, **decode), told(original, pictures, **decode))
    assert any(
        line.startswith(f"Started from 'hub:{repo}'")
        and "; new" not in line
        and "not used" not in line
        for line in lines
    )
    for tower in model.towers.values():
        assert tower.reference.source == repo
    saved = load_file(tmp_path / "run/best/model.safetensors")
    assert not any(name.startswith("towers.") for name in saved)


def test_vilt_keeps_the_rows_of_the_answers_that_it_knows(
    hub: Any, published: dict[str, Path], asked: Path, tmp_path: Path
) -> None:
    hub.add_repo(VILT, contents(published[VILT]))
    original = vqazoo.load(f"hub:{VILT}")
    lines: list[str] = []
    model = finetune(asked, tmp_path / "run", f"hub:{VILT}", lines)
    assert model.answers.texts == ("red", "no")  # of which "no" is one of its labels
    assert any("the rows of 1 answers" in line for line in lines)
    row = original.answers.texts.index("no")
    for name, tensor in model.head.state_dict().items():
        theirs = original.head.state_dict()[name]
        if tensor.shape == theirs.shape:
            torch.testing.assert_close(tensor, theirs)
        else:
            torch.testing.assert_close(tensor[1], theirs[row])
    picture = asked.parent / "0.png"
    first = original.answer(picture, QUESTIONS[0], top_k=7)
    (said,) = [one for one in (first, *first.alternatives) if one.text == "no"]
    best = model.answer(picture, QUESTIONS[0], top_k=2)
    (ours,) = [one for one in (best, *best.alternatives) if one.text == "no"]
    assert ours.score == pytest.approx(said.score, abs=1e-4)


@pytest.mark.parametrize("repo", REPOS)
def test_every_parameter_trains_is_saved_and_loads_again(
    published: dict[str, Path], repo: str, asked: Path, tmp_path: Path
) -> None:
    rate = {"learning_rate": 1e-3, "trainable": ["*"]}
    model = finetune(asked, tmp_path / "run", f"dir:{published[repo]}", **rate)
    original = vqazoo.load(f"dir:{published[repo]}").state_dict()
    moved = {
        name
        for name, tensor in model.state_dict().items()
        if tensor.shape == original[name].shape and not torch.equal(tensor, original[name])
    }
    assert any(name.startswith("towers.") for name in moved)
    assert any(name.startswith("fusion.") for name in moved) or repo.endswith("captioning-base")
    loaded = load_checkpoint(tmp_path / "run/best")
    pictures = [asked.parent / "0.png", asked.parent / "1.png"]
    assert loaded.answer(pictures, QUESTIONS) == model.answer(pictures, QUESTIONS)


@pytest.mark.parametrize("repo", REPOS)
def test_a_published_model_is_saved_and_answers_the_same(
    published: dict[str, Path], repo: str, picture: Path, tmp_path: Path
) -> None:
    model = vqazoo.load(f"dir:{published[repo]}")
    model.save(tmp_path / "saved")
    loaded = vqazoo.load(f"dir:{tmp_path / 'saved'}")
    pictures = [picture, picture]
    assert told(loaded, pictures) == told(model, pictures)
    assert loaded.answers.texts == model.answers.texts
    assert (tmp_path / "saved/README.md").is_file()


def test_the_command_line_takes_the_parts_of_its_start(
    published: dict[str, Path], asked: Path, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    done = CliRunner().invoke(
        command,
        [
            "train",
            "--start",
            f"dir:{published[VILT]}",
            "--data",
            "table",
            "--set",
            f"data.args.train={asked}",
            "--set",
            "training.epochs=1",
            "--set",
            "data.validation_fraction=0.25",
            "--out",
            str(tmp_path / "run"),
        ],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert load_checkpoint(tmp_path / "run/best").config.head.type == "vilt-classifier"


def test_parts_that_are_named_win_and_must_fit(
    published: dict[str, Path], asked: Path, tmp_path: Path
) -> None:
    ref = f"dir:{published['Salesforce/blip-vqa-base']}"
    tables = {"data": {"type": "table", "args": {"train": str(asked)}}, "training": {"start": ref}}
    config = gather_config(tables, [], {"head": "mlp", "fusion": "hadamard"})
    assert config.head.type == "mlp"
    assert config.image_encoder.type.startswith("hf-blip:")
    other = {
        **tables,
        "encoder": "tiny-clip",
        "head": "mlp",
        "fusion": "concat",
        "data": {**tables["data"], "validation_fraction": 0.25},
    }
    with pytest.raises(ConfigError, match=r"none of its \d+ tensors fits this model"):
        vqazoo.train(out=tmp_path / "run", config=other, report=lambda line: None)


# ---- saving by hand ----------------------------------------------------------------------------


def test_what_a_loop_of_ones_own_changed_in_the_encoder_is_saved(tmp_path: Path) -> None:
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b"])
    weight = model.towers["both"].get_parameter("model.ln_final.weight")
    weight.requires_grad_()
    with torch.no_grad():
        weight.mul_(2)
    model.save(tmp_path / "saved")
    assert model.trainable == ()
    loaded = vqazoo.load(f"dir:{tmp_path / 'saved'}")
    assert all(torch.equal(loaded.state_dict()[n], t) for n, t in model.state_dict().items())
    assert set(load_file(tmp_path / "saved/model.safetensors")) & {
        "towers.both.model.ln_final.weight"
    }


def test_saving_replaces_a_folder_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    first = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b"])
    first.save(tmp_path / "saved")
    before = {f.name: f.read_bytes() for f in (tmp_path / "saved").iterdir()}
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be saved"):
        first.save(tmp_path / "file" / "saved")
    second = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["c"])
    second.save(str(tmp_path / "saved"))
    assert vqazoo.load(f"dir:{tmp_path / 'saved'}").answers.texts == ("c",)
    assert {f.name: f.read_bytes() for f in (tmp_path / "saved").iterdir()} != before


def test_towers_of_a_start_that_differ_are_saved_though_they_stay_frozen(
    table: Path, tmp_path: Path
) -> None:
    def config(**training: Any) -> dict[str, Any]:
        return {
            "encoder": "tiny-clip",
            "head": "mlp",
            "fusion": "hadamard",
            "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
            "training": {"epochs": 1, "learning_rate": 1e-3, **training},
        }

    first = vqazoo.train(out=tmp_path / "first", config=config(trainable=["*"]), report=len)
    start = f"dir:{tmp_path / 'first/best'}"
    second = vqazoo.train(out=tmp_path / "second", config=config(start=start), report=len)
    for name, tensor in first.towers.state_dict().items():
        assert torch.equal(second.towers.state_dict()[name], tensor), name


def test_a_run_that_started_from_trained_towers_resumes_with_them(
    table: Path, tmp_path: Path
) -> None:
    train(table, tmp_path / "first", trainable=["*"])
    options = {"epochs": 2, "start": f"dir:{tmp_path / 'first/best'}"}
    train(table, tmp_path / "whole", **options)
    interrupted(table, tmp_path / "cut", 1, **options)
    assert same(tmp_path / "whole/state.safetensors", tmp_path / "cut/state.safetensors")
    assert same(tmp_path / "whole/best/model.safetensors", tmp_path / "cut/best/model.safetensors")
