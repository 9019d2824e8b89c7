"""What a run can be told: stages, adapters, precision, accumulation, averages, stopping, rules."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import vqazoo
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.config import StageConfig, TrainingConfig, run_config
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.training.loop import run
from vqazoo.training.optimisation import AveragedWeights, make_optimiser, rate_factor
from vqazoo.training.stages import last_blocks, stages
from vqazoo.training.state import Position, read_position
from vqazoo.training.steps import advance
from vqazoo.training.validation import monitored

Log = list[dict[str, Any]]


def settings(table: Path, head: Any = None, data: Any = None, **training: Any) -> dict[str, Any]:
    return {
        "encoder": "tiny-clip",
        "head": head or {"type": "mlp", "args": {"hidden_dim": 16, "dropout": 0.0}},
        "fusion": {"type": "hadamard", "args": {"dim": 16}},
        "data": {
            "type": "table",
            "args": {"train": str(table)},
            "validation_fraction": 0.25,
            **(data or {}),
        },
        "training": {"epochs": 2, "batch_size": 18, "learning_rate": 0.01, **training},
    }


def train(
    table: Path, out: Path, resume: bool = False, report: Callable[[str], Any] = len, **options: Any
) -> vqazoo.VQAModel:
    return run(run_config(settings(table, **options)), out, resume, report)


def log_of(out: Path) -> Log:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def best(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "best/model.safetensors")


def same(a: Path, b: Path, **tolerance: float) -> bool:
    first, second = load_file(a), load_file(b)
    if tolerance:
        return all(torch.allclose(first[n].float(), second[n].float(), **tolerance) for n in first)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


# ---- batches and precision ----------------------------------------------------------------------


def test_accumulating_three_batches_is_one_large_batch(table: Path, tmp_path: Path) -> None:
    options = {"epsilon": 1e-2, "schedule": "constant"}  # so that Adam does not blow up rounding
    train(table, tmp_path / "large", batch_size=18, **options)
    train(table, tmp_path / "small", batch_size=6, accumulate=3, **options)
    large, small = (tmp_path / name / "state.safetensors" for name in ("large", "small"))
    assert same(large, small, rtol=1e-3, atol=1e-5)
    assert not same(large, small)


def test_bf16_trains_close_to_float32_and_saves_float32(table: Path, tmp_path: Path) -> None:
    train(table, tmp_path / "full", epochs=3)
    train(table, tmp_path / "half", epochs=3, precision="bf16")
    full, half = (log_of(tmp_path / name)[-1]["loss"] for name in ("full", "half"))
    assert half == pytest.approx(full, rel=0.05)
    assert half != full
    weights = load_file(tmp_path / "half/best/model.safetensors")
    assert {t.dtype for n, t in weights.items() if n.startswith(("fusion", "head"))} == {
        torch.float32
    }


def test_fp16_scales_the_loss_and_resumes_bit_equal(table: Path, tmp_path: Path) -> None:
    options = {"precision": "fp16", "epochs": 3}
    train(table, tmp_path / "whole", **options)
    interrupted(table, tmp_path / "cut", 1, **options)
    assert same(tmp_path / "whole/state.safetensors", tmp_path / "cut/state.safetensors")


def interrupted(table: Path, out: Path, after: int, **options: Any) -> None:
    """Stop a run after an epoch, then go on with it."""

    def stop(line: str) -> None:
        if line.startswith(f"epoch {after + 1}/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(table, out, report=stop, **options)
    train(table, out, resume=True, **options)


# ---- averages -----------------------------------------------------------------------------------


def test_the_average_follows_the_weights_by_its_decay() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    averaged = AveragedWeights({"w": weight}, 0.5)
    expected = 0.0
    for step in range(1, 6):
        weight.data.fill_(float(step))
        averaged.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert averaged.average["w"].tolist() == pytest.approx([expected, expected])
    with averaged.in_place():
        assert weight.tolist() == pytest.approx([expected, expected])
    assert weight.tolist() == [5.0, 5.0]


def test_the_average_is_what_is_saved_and_it_resumes_bit_equal(table: Path, tmp_path: Path) -> None:
    options = {"average": 0.9, "epochs": 3, "monitor": "loss"}
    train(table, tmp_path / "whole", **options)
    interrupted(table, tmp_path / "cut", 1, **options)
    assert same(tmp_path / "whole/state.safetensors", tmp_path / "cut/state.safetensors")
    state = load_file(tmp_path / "whole/state.safetensors")
    best = load_file(tmp_path / "whole/best/model.safetensors")
    name = "head.layers.4.weight"
    assert torch.equal(best[name], state[f"average.{name}"])
    assert not torch.equal(best[name], state[f"model.{name}"])


# ---- choosing and stopping ----------------------------------------------------------------------


def test_early_stopping_counts_epochs_without_a_better_value() -> None:
    training = TrainingConfig(epochs=10, patience=2)
    (stage,) = stages(training)
    position = Position()
    for epoch, value in enumerate((0.3, 0.5, 0.5, 0.4), start=1):
        position.epoch = epoch
        advance(position, value, training, stage)
    assert position.ended
    assert (position.best, position.stale) == (0.5, 2)


def test_a_plateau_lowers_the_rate_and_only_then(table: Path, tmp_path: Path) -> None:
    training = TrainingConfig(epochs=9, schedule="plateau", plateau_patience=1, factor=0.1)
    (stage,) = stages(training)
    position, factors = Position(), []
    for value in (0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3):
        position.epoch += 1
        advance(position, value, training, stage)
        factors.append(position.factor)
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    train(
        table,
        tmp_path / "run",
        schedule="plateau",
        plateau_patience=0,
        epochs=4,
        learning_rate=1e-9,
        factor=0.5,
    )
    rates = [line["learning_rate"] for line in log_of(tmp_path / "run")]
    assert rates == pytest.approx([1e-9, 1e-9, 5e-10, 2.5e-10])


def test_the_monitored_loss_is_better_when_it_is_lower() -> None:
    config = TrainingConfig(monitor="loss")
    assert monitored(config, {"accuracy": 0.1, "loss": 2.0}) == -2.0
    with pytest.raises(ConfigError, match="only allow accuracy, loss"):
        monitored(TrainingConfig(monitor="vqa-accuracy"), {"accuracy": 0.1, "loss": 2.0})


def test_patience_ends_a_run_before_its_last_epoch(table: Path, tmp_path: Path) -> None:
    train(
        table,
        tmp_path / "run",
        epochs=20,
        patience=2,
        learning_rate=1e-12,
        monitor="loss",
        schedule="constant",
        weight_decay=0.0,
    )
    assert len(log_of(tmp_path / "run")) < 20
    assert read_position(tmp_path / "run/state.safetensors").ended


# ---- stages and what is unfrozen ----------------------------------------------------------------


def test_a_second_stage_unfreezes_the_last_blocks_with_its_own_rates(
    table: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    plan = [
        {"epochs": 2},
        {"epochs": 2, "unfreeze_blocks": 1, "learning_rate": 5e-4, "encoder_learning_rate": 1e-6},
    ]
    train(table, tmp_path / "run", stages=plan, report=lines.append)
    log = log_of(tmp_path / "run")
    assert [line["stage"] for line in log] == [1, 1, 2, 2]
    assert log[2]["learning_rate"] < 5.1e-4 < log[0]["learning_rate"]
    assert any(line.startswith("Stage 2 of 2: ") for line in lines)
    assert any("because its encoder trains" in line for line in lines)
    state = load_file(tmp_path / "run/state.safetensors")
    trained = [name for name in state if name.startswith("optimiser.exp_avg.towers.")]
    blocks = {name.split("both.model.")[1].split(".")[0] for name in trained}
    assert blocks == {"visual", "transformer", "ln_final", "text_projection"}
    assert not any("resblocks.1." in name for name in trained)  # the last of three is resblocks.2
    load_checkpoint(tmp_path / "run/best")


def test_a_run_interrupted_in_its_second_stage_ends_bit_equal(table: Path, tmp_path: Path) -> None:
    plan = [{"epochs": 1}, {"epochs": 2, "unfreeze_blocks": 1, "encoder_learning_rate": 1e-4}]
    train(table, tmp_path / "whole", stages=plan)
    interrupted(table, tmp_path / "cut", 2, stages=plan)
    assert same(tmp_path / "whole/state.safetensors", tmp_path / "cut/state.safetensors")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"unfreeze_blocks": 2}, {}),
        ({"unfreeze_blocks": 2}, {"unfreeze_blocks": 1}),
        ({"trainable": ["*"]}, {"unfreeze_blocks": 1}),
        ({"trainable": ["both.a"]}, {"trainable": ["both.b"]}),
    ],
)
def test_a_stage_never_freezes_what_an_earlier_one_trained(
    table: Path, tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    plan = [{"epochs": 1, **first}, {"epochs": 1, **second}]
    with pytest.raises(ConfigError, match="Stage 2 freezes encoder parameters that stage 1 train"):
        train(table, tmp_path / "run", stages=plan)
    assert not (tmp_path / "run").exists()


def test_a_stage_may_unfreeze_more_than_the_one_before() -> None:
    given = [StageConfig(1), StageConfig(1, unfreeze_blocks=1), StageConfig(1, trainable=["*"])]
    assert len(stages(TrainingConfig(stages=given))) == 3


def test_encoder_parameters_have_a_rate_of_their_own() -> None:
    learning = {
        "towers.both.a": torch.nn.Parameter(torch.zeros(1)),
        "head.b": torch.nn.Parameter(torch.zeros(1)),
    }
    training = TrainingConfig(learning_rate=1e-3, encoder_learning_rate=1e-6, trainable=["*"])
    (stage,) = stages(training)
    rates = {
        g["lr"]: len(g["params"]) for g in make_optimiser(learning, training, stage).param_groups
    }
    assert rates == {1e-3: 1, 1e-6: 1}


@pytest.mark.parametrize(
    ("side", "blocks"),
    [("image", {"visual"}), ("text", {"transformer", "ln_final", "text_projection"})],
)
def test_the_last_blocks_of_one_tower_do_not_touch_the_other(side: str, blocks: set[str]) -> None:
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a"], pretrained=False)
    names = last_blocks(model.image_encoder, side, 1)
    assert {name.removeprefix("model.").split(".")[0] for name in names} == blocks
    with pytest.raises(ConfigError, match="blocks, but unfreeze_blocks is 99"):
        last_blocks(model.image_encoder, side, 99)


def test_last_blocks_of_library_towers_are_the_published_ones() -> None:
    model = vqazoo.create(
        image_encoder="timm:vit_tiny_patch16_224",
        text_encoder="tiny-clip",
        head="mlp",
        answers=["a"],
        pretrained=False,
    )
    assert [n.split("model.")[-1] for n in last_blocks(model.image_encoder, "image", 4)][:4] == [
        f"blocks.{i}." for i in (8, 9, 10, 11)
    ]
    model = vqazoo.create(encoder="open-clip:ViT-B-32", head="mlp", answers=["a"], pretrained=False)
    names = [n.split("model.")[-1] for n in last_blocks(model.image_encoder, "image", 4)]
    assert names[:4] == [f"visual.transformer.resblocks.{i}." for i in (8, 9, 10, 11)]
    assert set(names[4:]) == {"visual.ln_post.", "visual.proj"}
    names = [n.split("model.")[-1] for n in last_blocks(model.image_encoder, "text", 2)]
    assert names[:2] == ["transformer.resblocks.10.", "transformer.resblocks.11."]
    assert set(names[2:]) == {"ln_final.", "text_projection"}


# ---- adapters -----------------------------------------------------------------------------------


def test_lora_trains_small_matrices_and_saves_a_plain_model(
    table: Path, tmp_path: Path, picture: Path
) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    lora = {"rank": 4, "targets": ["mlp.c_fc"]}
    lines: list[str] = []
    options = {"lora": lora, "epochs": 3, "learning_rate": 0.02}
    model = train(table, tmp_path / "run", report=lines.append, **options)
    best = load_file(tmp_path / "run/best/model.safetensors")
    changed = [name for name in best if name.startswith("towers.")]
    assert changed
    assert all(name.endswith("mlp.c_fc.weight") for name in changed)
    assert not any("lora" in name for name in best)
    original = vqazoo.load("tiny-clip-lstm-easyvqa").state_dict()
    assert not any(torch.equal(best[name], original[name]) for name in changed)
    assert load_checkpoint(tmp_path / "run/best").answer(picture, "what shape is it?").text
    assert model.answer(picture, "what shape is it?").text
    interrupted(table, tmp_path / "cut", 1, **options)
    assert same(tmp_path / "run/state.safetensors", tmp_path / "cut/state.safetensors")


def test_the_merged_model_answers_as_the_adapted_one(table: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    from vqazoo.config import LoraConfig
    from vqazoo.training.lora import add_adapters, merged

    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b"])
    add_adapters(model, LoraConfig(rank=2))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    pixels = torch.randn(2, 3, 64, 64)
    adapted = model.eval()(pixels, ["what is it?", "why?"]).pooled
    plain = merged(model).eval()(pixels, ["what is it?", "why?"]).pooled
    torch.testing.assert_close(adapted, plain, rtol=1e-4, atol=1e-4)


def test_lora_with_stages_or_unknown_layers_is_refused(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    with pytest.raises(ConfigError, match=r"training\.lora adapts frozen encoders in one stage"):
        train(table, tmp_path / "a", lora={"rank": 2}, trainable=["*"])
    with pytest.raises(ConfigError, match=r"No linear layer of .* ends in nothing"):
        train(table, tmp_path / "b", lora={"rank": 2, "targets": ["nothing"]})


# ---- heads' losses and answer rules -------------------------------------------------------------


def test_soft_targets_teach_classifiers_and_are_refused_by_generators(
    table: Path, tmp_path: Path
) -> None:
    train(table, tmp_path / "run", data={"answer_rule": "soft"}, epochs=3)
    assert log_of(tmp_path / "run")[-1]["loss"] < log_of(tmp_path / "run")[0]["loss"]
    with pytest.raises(ConfigError, match="the head 'gru' learns one"):
        train(table, tmp_path / "gru", head={"type": "gru"}, data={"answer_rule": "soft"})


@pytest.mark.parametrize("args", [{"label_smoothing": 0.1}, {"balance": 0.5}])
def test_smoothing_and_balance_change_the_loss_only(
    table: Path, tmp_path: Path, args: dict[str, float]
) -> None:
    plain = {"type": "mlp", "args": {"hidden_dim": 16, "dropout": 0.0}}
    train(table, tmp_path / "plain", head=plain)
    changed = {"type": "mlp", "args": {**plain["args"], **args}}  # type: ignore[dict-item]
    train(table, tmp_path / "other", head=changed)
    losses = [log_of(tmp_path / name)[0]["loss"] for name in ("plain", "other")]
    assert losses[0] != losses[1]
    names = [load_file(tmp_path / n / "best/model.safetensors").keys() for n in ("plain", "other")]
    assert names[0] == names[1]


# ---- logs ---------------------------------------------------------------------------------------


def test_tensorboard_gets_every_epoch(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(table, tmp_path / "run", loggers=["tensorboard"], epochs=3)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    values = [event.value for event in events.Scalars("loss")]
    logged = [line["loss"] for line in log_of(tmp_path / "run")]
    assert values == pytest.approx(logged, rel=1e-5)


def test_a_logger_that_is_not_installed_says_how_to_get_it(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrainingError, match=r"pip install 'vqazoo\[wandb\]'"):
        train(table, tmp_path / "run", loggers=["wandb"])


def test_the_log_tells_both_losses(table: Path, tmp_path: Path) -> None:
    train(table, tmp_path / "run")
    for line in log_of(tmp_path / "run"):
        assert math.isfinite(line["validation_loss"])
        assert line["validation_loss"] != line["loss"]


def test_the_rate_rises_by_equal_steps_and_is_whole_at_the_end_of_the_warm_up() -> None:
    """By hand: 2 epochs of 5 steps are 10 elevenths, then comes the whole rate."""
    training = TrainingConfig(epochs=4, schedule="constant", warmup_epochs=2.0)
    rates = [rate_factor(training, 4, epoch, step, 5) for epoch in range(3) for step in range(5)]
    assert rates == pytest.approx([*(n / 11 for n in range(1, 11)), 1, 1, 1, 1, 1])
