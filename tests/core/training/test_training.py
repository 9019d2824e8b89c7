"""Training learns, resumes to the same end, and stops in a sentence when it must."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vqazoo
from tests.support.warm import python
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.config import TrainingConfig
from vqazoo.data import split_by_image
from vqazoo.errors import ConfigError, DataError, TrainingError, UnknownNameError
from vqazoo.features.sources import CachedFeatures, LiveFeatures
from vqazoo.registry import registry
from vqazoo.training.data import read_run_data
from vqazoo.training.loop import run_training
from vqazoo.training.optimisation import rate_factor
from vqazoo.training.settings import gather_config
from vqazoo.training.steps import make_batches

QUIET = {"report": lambda _: None}


def settings(table: Path, **training) -> dict:
    return {
        "encoder": "tiny-clip",
        "head": {"type": "mlp", "args": {"hidden_dim": 32}},
        "fusion": {"type": "hadamard", "args": {"dim": 32}},
        "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
        "training": {"epochs": 4, "batch_size": 16, "learning_rate": 0.01, **training},
    }


def train(table: Path, out: Path, resume: bool = False, **training) -> vqazoo.VQAModel:
    return vqazoo.train(config=settings(table, **training), out=out, resume=resume, **QUIET)


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_loss_falls_and_the_run_folder_is_complete(table, tmp_path):
    model = train(table, tmp_path / "run", epochs=12)
    log = log_of(tmp_path / "run")
    assert [line["epoch"] for line in log] == list(range(1, 13))
    assert log[-1]["loss"] < 0.75 * log[0]["loss"]
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "best",
        "environment.json",
        "log.jsonl",
        "loss.png",
        "recipe.toml",
        "state.safetensors",
    }
    assert (tmp_path / "run/loss.png").read_bytes().startswith(b"\x89PNG")
    best = max(line["validation_accuracy"] for line in log)
    metrics = json.loads((tmp_path / "run/best/metrics.json").read_text())
    assert metrics[0]["value"] == best
    assert metrics[0]["signature"].startswith("accuracy|v1|rule:")
    assert not model.training


def test_the_same_seed_gives_the_same_model_and_its_recipe_repeats_it(table, tmp_path):
    train(table, tmp_path / "a")
    vqazoo.train(config=tmp_path / "a/recipe.toml", out=tmp_path / "b", **QUIET)
    a, b = (load_file(tmp_path / n / "best/model.safetensors") for n in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_interrupted_run_ends_bit_equal_to_an_uninterrupted_one(table, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(table, whole)

    def stop(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vqazoo.train(config=settings(table), out=cut, report=stop)
    train(table, cut, resume=True)
    a, b = load_file(whole / "state.safetensors"), load_file(cut / "state.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    losses = [[line["loss"] for line in log_of(out)] for out in (whole, cut)]
    assert losses[0] == losses[1]


def test_resuming_needs_only_the_run_folder(table, tmp_path):
    train(table, tmp_path / "run")
    config = gather_config(None, [], {}, tmp_path / "run")
    model = run_training(config, tmp_path / "run", True, lambda _: None)
    assert len(log_of(tmp_path / "run")) == 4
    assert model.config.head.type == "mlp"


def test_a_kill_while_training_leaves_a_whole_best_checkpoint(table, tmp_path, picture):
    out = tmp_path / "run"
    arguments = [
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "mlp",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=10000",
        "--out",
        str(out),
    ]
    code = "from vqazoo.cli import main; main()"
    process = python(code, *arguments, stderr=subprocess.PIPE)
    assert process.stderr
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            break
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert load_checkpoint(out / "best").answer(picture, "what shape is it?").text


# ---- features -------------------------------------------------------------------------------


def test_cached_features_are_live_ones_to_half_precision(table):
    data = read_run_data(gather_config(settings(table), [], {}), None)
    model = vqazoo.create(
        encoder="tiny-clip", fusion="cross-attention", head="mlp", answers=data.answers.texts
    )
    rows = torch.tensor([0, 5, 5, 17, 2])
    stored = CachedFeatures(model, data.examples, lambda steps, _: iter(steps)).batch(rows)
    with torch.no_grad():
        live = LiveFeatures(model, data.examples).batch(rows)
    for a, b in zip(stored, live, strict=True):
        length = b.tokens.shape[1]
        torch.testing.assert_close(a.tokens[:, :length], b.tokens, rtol=1e-3, atol=1e-3)
        assert torch.equal(a.mask[:, :length], b.mask)
        assert not a.mask[:, length:].any()


def test_each_distinct_image_of_a_batch_is_encoded_once(table, monkeypatch):
    data = read_run_data(gather_config(settings(table), [], {}), None)
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=data.answers.texts)
    seen = []
    encode = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda p: seen.append(len(p)) or encode(p))
    LiveFeatures(model, data.examples).batch(torch.tensor([0, 1, 2, 3, 4, 5, 0]))
    assert seen == [2]


def test_grouping_by_image_keeps_questions_of_an_image_together(table):
    examples = registry.build("dataset", "table", train=str(table)).read("train")
    images = [example.image for example in examples]
    grouped, plain = (make_batches(images, 12, grouping, seed=3) for grouping in (True, False))
    assert sorted(torch.cat(grouped).tolist()) == list(range(len(images)))
    assert all(len({images[row] for row in batch.tolist()}) == 4 for batch in grouped)
    assert sum(len({images[row] for row in batch.tolist()}) for batch in plain) > 4 * len(plain)
    other = make_batches(images, 12, True, seed=4)
    assert torch.cat(other).tolist() != torch.cat(grouped).tolist()


@pytest.mark.parametrize("change", [{"trainable": ["*"]}, {"augment": "crop"}])
def test_unfrozen_and_augmented_training_encodes_live_and_resumes(table, tmp_path, change):
    lines: list[str] = []
    vqazoo.train(
        config=settings(table, epochs=2, group_by_image=True, **change),
        out=tmp_path / "run",
        report=lines.append,
    )
    told = "Encoding the images of every batch anew, because"
    assert any(line.startswith(told) for line in lines)
    stored = load_file(tmp_path / "run/best/model.safetensors")
    assert any(name.startswith("towers.") for name in stored) == ("trainable" in change)
    load_checkpoint(tmp_path / "run/best")


# ---- schedules ------------------------------------------------------------------------------


def test_the_published_milestones_give_the_published_rates():
    config = TrainingConfig(
        epochs=36,
        learning_rate=4.1e-3,
        schedule="multi-step",
        factor=0.37,
        milestones=[6, 12, 18, 24, 29],
    )
    rates = [4.1e-3 * rate_factor(config, 36, epoch, 0, 10) for epoch in (0, 6, 12, 18, 24, 29)]
    published = [4.1e-3, 1.517e-3, 5.6129e-4, 2.076773e-4, 7.68406e-5, 2.843102e-5]
    assert rates == pytest.approx(published, rel=1e-6)
    assert 4.1e-3 * rate_factor(config, 36, 28, 9, 10) == pytest.approx(7.68406e-5)


def test_cosine_falls_to_zero_after_a_linear_warm_up():
    config = TrainingConfig(epochs=4, learning_rate=1.0, schedule="cosine", warmup_epochs=1.0)
    rates = [rate_factor(config, 4, e, s, 10) for e in range(4) for s in range(10)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


# ---- bad input ------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_the_questions_and_keeps_the_best(table, tmp_path):
    out = tmp_path / "run"
    train(table, out, epochs=1)
    before = (out / "best/model.safetensors").read_bytes()
    from vqazoo_heads.mlp import MLPHead

    real = MLPHead.loss
    try:
        MLPHead.loss = lambda self, fused, targets: (  # type: ignore[method-assign]
            real(self, fused, targets)[0] * float("nan"),
            {},
        )
        with pytest.raises(
            TrainingError,
            match=r"The loss is nan in epoch 1, step 0, in a batch of 16 questions \(",
        ):
            train(table, tmp_path / "other")
    finally:
        MLPHead.loss = real  # type: ignore[method-assign]
    assert (out / "best/model.safetensors").read_bytes() == before


def test_folders_above_a_run_are_made(table, tmp_path):
    train(table, tmp_path / "runs" / "of today" / "first", epochs=1)
    assert (tmp_path / "runs" / "of today" / "first" / "best").is_dir()


def test_a_run_folder_is_never_overwritten_or_mixed(table, tmp_path):
    train(table, tmp_path / "run", epochs=1)
    with pytest.raises(TrainingError, match="already holds a run: add resume=True"):
        train(table, tmp_path / "run", epochs=1)
    with pytest.raises(TrainingError, match="The config differs"):
        train(table, tmp_path / "run", resume=True, epochs=2)
    with pytest.raises(TrainingError, match="no run to resume"):
        train(table, tmp_path / "empty", resume=True)


def test_a_full_disk_while_training_is_told_and_keeps_what_was_there(table, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match="No space left on device") as caught:
        train(table, tmp_path / "run")
    assert "resume" not in str(caught.value), "nothing was saved that could be gone on with"


def test_an_answer_list_without_any_training_answer_is_refused(table, tmp_path):
    (tmp_path / "answers.txt").write_text("rouge\nbleu\n")
    tables = settings(table)
    tables["data"]["answers"] = str(tmp_path / "answers.txt")
    with pytest.raises(DataError, match="None of the 2 listed answers"):
        vqazoo.train(config=tables, out=tmp_path / "run", **QUIET)


def test_rare_answers_can_be_left_out_and_count_as_misses(table, tmp_path):
    tables = settings(table)
    tables["data"]["most_answers"] = 2
    vqazoo.train(config=tables, out=tmp_path / "run", **QUIET)
    metrics = json.loads((tmp_path / "run/best/metrics.json").read_text())
    values = {metric["name"]: metric["value"] for metric in metrics}
    assert values["known-answer-share"] < 1
    assert values["accuracy"] <= values["known-answer-share"]
    assert {metric["questions"] for metric in metrics} == {18}  # all of them, none skipped


def test_unknown_splits_and_devices_are_told(table, tmp_path):
    tables = settings(table)
    tables["data"]["train_split"] = "trian"
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        vqazoo.train(config=tables, out=tmp_path / "run", **QUIET)
    with pytest.raises(ConfigError, match="device 'gpu' cannot be used"):
        train(table, tmp_path / "run", device="gpu")


def test_one_image_cannot_be_split(table):
    examples = registry.build("dataset", "table", train=str(table)).read("train")
    with pytest.raises(DataError, match="there is 1 distinct image"):
        split_by_image(examples[:3], 0.5, 0)
    kept, held = split_by_image(examples, 0.25, 0)
    assert len(kept) + len(held) == len(examples)
    assert not {e.image for e in kept} & {e.image for e in held}
