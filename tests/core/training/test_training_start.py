"""Runs that start from another model, train one tower only, or validate within an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import vqazoo
from tests.core.training.test_training_options import best, log_of, same, settings, train
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.config import run_config
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError
from vqazoo.training.loop import run
from vqazoo.training.starting import _copy_rows
from vqazoo.training.state import read_position

# ---- one tower trains, the other is stored ------------------------------------------------------


def two_towers(table: Path, **training: Any) -> dict[str, Any]:
    """Two modules of the same encoder, which a difference in arguments keeps apart."""
    filled = settings(table, **training)
    del filled["encoder"]
    return {
        **filled,
        "image_encoder": {"type": "tiny-clip", "args": {"image_size": 96}},
        "text_encoder": "tiny-clip",
        "fusion": {"type": "cross-attention", "args": {"dim": 16, "layers": 1, "heads": 2}},
    }


@pytest.mark.parametrize(("tower", "live"), [("image", "images"), ("text", "questions")])
def test_only_the_tower_that_trains_is_encoded_for_every_batch(
    table: Path, tmp_path: Path, tower: str, live: str
) -> None:
    lines: list[str] = []
    filled = two_towers(table, trainable=[tower], encoder_learning_rate=1e-3)
    model = run(run_config(filled), tmp_path / "run", report=lines.append)
    told = [line for line in lines if "of every batch anew" in line]
    assert told == [f"Encoding the {live} of every batch anew, because its encoder trains."]
    assert model.trains_tower(tower)
    assert not model.trains_tower("text" if tower == "image" else "image")
    saved = load_file(tmp_path / "run/best/model.safetensors")
    towers = {name.split(".")[1] for name in saved if name.startswith("towers.")}
    assert towers == {tower}
    fresh = vqazoo.create(
        image_encoder=filled["image_encoder"],
        text_encoder="tiny-clip",
        head="mlp",
        fusion=filled["fusion"],
        answers=["a"],
    ).state_dict()
    moved = [n for n, t in saved.items() if n in fresh and not torch.equal(t, fresh[n])]
    assert any(name.startswith(f"towers.{tower}.") for name in moved)


# ---- starting from another model ----------------------------------------------------------------


def test_a_run_starts_from_the_tensors_of_another_that_fit(table: Path, tmp_path: Path) -> None:
    train(table, tmp_path / "first", epochs=1)
    lines: list[str] = []
    rate = {"learning_rate": 1e-12}
    options = {"start": f"dir:{tmp_path / 'first/best'}", "epochs": 1, **rate}
    train(table, tmp_path / "second", report=lines.append, **options)
    first, second = (best(tmp_path / name) for name in ("first", "second"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    assert [line for line in lines if line.startswith("Started from")] == [
        f"Started from 'dir:{tmp_path / 'first/best'}': {len(first)} tensors taken."
    ]
    wider = {"type": "mlp", "args": {"hidden_dim": 32, "dropout": 0.0}}
    train(table, tmp_path / "third", head=wider, report=lines.append, **options)
    told = next(line for line in reversed(lines) if line.startswith("Started from"))
    assert "not used: " in told
    assert "; new: " in told
    assert "head." in told


def test_answer_rows_are_not_taken_from_a_model_that_knows_other_answers(
    table: Path, tmp_path: Path
) -> None:
    train(table, tmp_path / "first", epochs=1)
    known = load_checkpoint(tmp_path / "first/best").answers.texts
    turned = tmp_path / "answers.txt"
    turned.write_text("\n".join(reversed(known)) + "\n")
    lines: list[str] = []
    train(
        table,
        tmp_path / "second",
        data={"answers": str(turned)},
        epochs=1,
        learning_rate=1e-12,
        start=f"dir:{tmp_path / 'first/best'}",
        report=lines.append,
    )
    first, second = (best(tmp_path / name) for name in ("first", "second"))
    rows = [name for name, t in first.items() if name.startswith("head.") and len(t) == len(known)]
    assert rows
    assert not any(torch.allclose(first[name], second[name], atol=1e-6) for name in rows)
    assert all(
        torch.allclose(first[name], second[name], atol=1e-6) for name in first if name not in rows
    )


def test_a_start_without_a_tensor_that_fits_is_refused(table: Path, tmp_path: Path) -> None:
    train(table, tmp_path / "first", epochs=1)
    other = {"type": "gru", "args": {"hidden_dim": 7}}
    filled = settings(table, head=other, start=f"dir:{tmp_path / 'first/best'}")
    filled["fusion"] = {"type": "bilinear", "args": {"dim": 5, "rank": 3}}
    with pytest.raises(ConfigError, match=r"none of its \d+ tensors fits this model"):
        run(run_config(filled), tmp_path / "second", report=len)


def test_the_folder_a_run_started_from_is_not_published(table: Path, tmp_path: Path) -> None:
    train(table, tmp_path / "first", epochs=1)
    train(table, tmp_path / "second", epochs=1, start=f"dir:{tmp_path / 'first/best'}")
    assert str(tmp_path) in (tmp_path / "second/recipe.toml").read_text()
    assert str(tmp_path) not in (tmp_path / "second/best/recipe.toml").read_text()


# ---- validating within an epoch -----------------------------------------------------------------


def test_validation_every_few_steps_keeps_the_best_of_them(table: Path, tmp_path: Path) -> None:
    # At a rate that spoils the model within the epoch, an early step is the best one.
    options = {"epochs": 1, "batch_size": 6, "schedule": "constant", "monitor": "loss"}
    train(table, tmp_path / "run", eval_steps=2, learning_rate=0.5, **options)
    (line,) = log_of(tmp_path / "run")
    steps = [one["step"] for one in line["within"]]
    assert steps == [2, 4, 6, 8]
    losses = [one["loss"] for one in line["within"]] + [line["validation_loss"]]
    position = read_position(tmp_path / "run/state.safetensors")
    assert -position.best == pytest.approx(min(losses))
    train(table, tmp_path / "plain", learning_rate=0.5, **options)
    assert "within" not in log_of(tmp_path / "plain")[0]
    assert same(tmp_path / "run/state.safetensors", tmp_path / "plain/state.safetensors")


def test_a_row_goes_to_the_answer_it_was_learnt_for_however_that_is_spelled() -> None:
    theirs = AnswerList(("Cat.", "no", "Yes", "cat"), (1, 1, 1, 1))
    mine = AnswerList(("yes", "zebra", "cat"), (1, 1, 1))
    own, tensor = torch.full((3, 2), -1.0), torch.arange(8.0).reshape(4, 2)
    _copy_rows(own, tensor, mine, theirs)
    assert own.tolist() == [[4, 5], [-1, -1], [0, 1]], "the first of two that are the same answer"
