"""Training on several processes: the model of one, whatever the head, the step and the launcher."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.plugins.language_models import tiny
from tests.support.processes import (
    MANY,
    PROGRAM,
    accelerate,
    begun,
    difference,
    launched,
    torchrun,
    written,
)
from tests.support.toy import toy  # noqa: F401
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.config import run_config
from vqazoo.training.loop import run_training

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden_dim": 16, "dropout": 0.0}
HADAMARD = {"type": "hadamard", "args": {"dim": 16}}
HEADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # arguments, and the fusion
    "mlp": ({"hidden_dim": 16, "dropout": 0.0}, HADAMARD),
    "linear": ({"hidden_dim": 16, "dropout": 0.0, "balance": 0.7}, HADAMARD),
    "gru": ({"hidden_dim": 16, "min_count": 1}, HADAMARD),
    "lstm": ({"hidden_dim": 16, "dropout": 0.0}, HADAMARD),
    "med-decoder": (SMALL, {"type": "med", "args": SMALL}),
    "lm-generate": ({}, {"type": "prefix-mlp", "args": {"hidden_dim": 16}}),
}
LONG = {"n_positions": 96, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def settings(
    head: str, table: Path, root: Path, language_model: Path | None, **training: Any
) -> dict[str, Any]:
    args, fusion = HEADS[head]
    encoders: dict[str, Any] = {"encoder": "toy"}
    if head == "lm-generate":
        encoders = {"image_encoder": "toy", "text_encoder": f"hf-lm:{language_model}"}
    return {
        **encoders,
        "head": {"type": head, "args": args},
        "fusion": fusion,
        "data": {
            "type": "table",
            "args": {"train": str(table)},
            "validation_fraction": 0.25,
            "most_answers": 5,
        },
        "training": {
            "epochs": 1,
            "batch_size": 13,  # of 54 rows leaves 2, of which two of four processes get none
            "learning_rate": 0.01,
            "epsilon": 1e-3,  # so that Adam does not blow up rounding
            "cache": str(root / "cache"),
            "device": "cpu",
            **training,
        },
    }


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def same_log(a: Path, b: Path) -> None:
    for alone, shared in zip(log_of(a), log_of(b), strict=True):
        for name in alone:
            if name.startswith(("loss", "validation_loss")):
                assert shared[name] == pytest.approx(alone[name], rel=1e-4), name


@pytest.fixture(scope="module")
def runs(
    table: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, Any], Path]]:
    """Every head with one and four batches to a step, trained by one process."""
    from vqazoo.registry import registry
    from vqazoo.testing import TOY, ToyEncoder

    root = tmp_path_factory.mktemp("processes")
    language_model = tiny.save(root / "gpt2", "gpt2", **LONG)
    registry.register("encoder", "toy", TOY)(ToyEncoder)
    made = {}
    try:
        for head in HEADS:
            for accumulate in (1, 4):
                tables = settings(head, table, root, language_model, accumulate=accumulate)
                out = root / "alone" / f"{head}-{accumulate}"
                run_training(run_config(tables), out, report=len)
                made[out.name] = tables, out
    finally:
        registry.unregister("encoder", "toy")
    return made


@pytest.mark.proof
@pytest.mark.parametrize("processes", [1, 2, pytest.param(4, marks=pytest.mark.apart)])
def test_processes_train_the_model_of_one(
    socket_enabled: None,
    processes: int,
    runs: dict[str, tuple[dict[str, Any], Path]],
    tmp_path: Path,
) -> None:
    """Two processes are started by accelerate with a config file, the others by torchrun."""
    if processes == 1:  # only that a launcher may start it
        runs = {name: runs[name] for name in ("mlp-1", "gru-4")}
    todo = [[tables, str(tmp_path / name)] for name, (tables, _) in runs.items()]
    (tmp_path / "todo.json").write_text(json.dumps(todo))
    launcher = accelerate(tmp_path / "accelerate.yaml") if processes == 2 else torchrun(processes)
    arguments = [written(MANY, tmp_path / "many.py"), str(tmp_path / "todo.json")]
    launched(launcher, arguments, processes)
    for name, (_, alone) in runs.items():
        assert difference(alone, tmp_path / name) < 1e-5, name
        same_log(alone, tmp_path / name)


# ---- killed -------------------------------------------------------------------------------------


EPOCHS = 30


def flags(table: Path, root: Path, out: Path) -> list[str]:
    """A run as a user types it."""
    sets = [
        'head={type="mlp",args={hidden_dim=16,dropout=0.0}}',
        'fusion={type="hadamard",args={dim=16}}',
        f"data.args.train={table}",
        "data.validation_fraction=0.25",
        "training.batch_size=7",
        "training.learning_rate=0.01",
        f"training.cache={root}",
        "training.device=cpu",
        f"training.epochs={EPOCHS}",
    ]
    sets = [part for assignment in sets for part in ("--set", assignment)]
    return ["train", "--encoder", "tiny-clip", "--data", "table", *sets, "--out", str(out)]


def kill_one(running: subprocess.Popen[str], rank: int, file: Path, before: bytes) -> str:
    """Kill a process as soon as the file has changed; what all of them say."""
    assert running.stderr is not None
    lines: list[str] = []
    while sum(line.startswith("process ") for line in lines) < 2:
        lines.append(running.stderr.readline())
    (process,) = re.findall(rf"process {rank} of 2: (\d+)", "".join(lines))
    until = time.monotonic() + 60
    while (not file.exists() or file.read_bytes() == before) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(int(process), signal.SIGKILL)
    _, said = running.communicate(timeout=60)
    return said


@pytest.mark.apart
def test_a_killed_process_ends_the_run_with_a_sentence_and_resume_goes_on(
    socket_enabled: None, table: Path, tmp_path: Path
) -> None:
    """First the one, then the other process is killed."""
    script = written(PROGRAM, tmp_path / "main.py")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    state, before = cut / "state.safetensors", b""
    said = launched(torchrun(), [script, *flags(table, tmp_path / "cache", whole)])
    assert said.count("epoch 1/") == 1  # the first process speaks for both
    arguments = flags(table, tmp_path / "cache", cut)
    for killed in (1, 0):
        running = begun(torchrun(), [script, *arguments])
        said = kill_one(running, killed, state, before)
        assert running.returncode != 0
        assert f"Process {killed} of 2 is gone" in said
        assert "start the processes again with --resume" in said
        assert "vqazoo/training/" not in said  # no traceback of ours; the launcher has its own
        before = state.read_bytes()
        assert len(log_of(cut)) < EPOCHS
        arguments = ["train", "--resume", "--out", str(cut)]
    launched(torchrun(), [script, *arguments])
    first, second = (load_file(run / "state.safetensors") for run in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---- sharded ------------------------------------------------------------------------------------


@pytest.mark.apart
def test_sharded_processes_train_save_resume_and_load_the_model_of_one(
    socket_enabled: None,
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
) -> None:
    """A language model that trains is cut in two (FSDP), by a config file of accelerate."""
    language_model = tiny.save(tmp_path / "gpt2", "gpt2", **LONG)
    options = {"trainable": ["text."], "accumulate": 2, "average": 0.9, "clip_norm": 0.5}
    tables = settings("lm-generate", table, tmp_path, language_model, **options, epochs=2)
    alone, both, resumed = (tmp_path / name for name in ("alone", "both", "resumed"))
    run_training(run_config(tables), alone, report=len)

    def stop(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(run_config(tables), resumed, report=stop)
    todo = [[tables, str(both)], [tables, str(resumed)]]
    (tmp_path / "todo.json").write_text(json.dumps(todo))
    launcher = accelerate(tmp_path / "accelerate.yaml", layer="GPT2Block")
    launched(launcher, [written(MANY, tmp_path / "many.py"), str(tmp_path / "todo.json")])
    for out in (both, resumed):
        assert difference(alone, out) < 1e-5
        same_log(alone, out)
        assert json.loads((out / "environment.json").read_text())["sharded"]
        saved, expected = (load_checkpoint(run / "best").state_dict() for run in (out, alone))
        for name, tensor in expected.items():
            torch.testing.assert_close(saved[name], tensor, rtol=0, atol=1e-5)
