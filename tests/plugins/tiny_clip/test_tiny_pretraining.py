"""`pretrain-tiny-clip` goes on after an interruption, and on several processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.processes import launched, torchrun, written
from vqazoo.cli import run
from vqazoo_tiny_clip import pretrain as module

PROGRAM = """
import os, sys
rank, size = os.environ["RANK"], os.environ["WORLD_SIZE"]
os.write(2, f"process {rank} of {size}: {os.getpid()}\\n".encode())
from vqazoo_tiny_clip import pretrain
pretrain.measure = lambda *given: {}
from vqazoo.cli import run
sys.exit(run(sys.argv[1:]))
"""
SMALL = ("--steps", 4, "--batch-size", 8, "--save-every", 2)


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than these runs."""
    monkeypatch.setattr(module, "measure", lambda *given: {})


def pretrain(*arguments: object) -> int:
    return run(["pretrain-tiny-clip", *map(str, arguments)])


def left(folder: Path) -> tuple[Any, ...]:
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    kept = [load_file(folder / f"{name}.safetensors") for name in ("model", "state")]
    tensors = [{n: t.tolist() for n, t in each.items()} for each in kept]
    return tensors, [{**line, "seconds": 0} for line in log]


@pytest.mark.apart
def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path, monkeypatch, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert pretrain(*SMALL, "--out", whole) == 0
    real, calls = module.render_batch, []

    def stop(*given):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "render_batch", stop)
        assert pretrain(*SMALL, "--out", parts) == 130
    assert f"vqazoo pretrain-tiny-clip --resume --out {parts}" in capsys.readouterr().err
    assert pretrain(*SMALL, "--out", parts) == 1
    assert "already holds a run: add --resume" in capsys.readouterr().err
    assert pretrain("--resume", "--out", parts) == 0
    assert left(parts) == left(whole)


@pytest.mark.apart
def test_two_processes_take_the_steps_of_one(socket_enabled, tmp_path):
    """The batch norms look at the pictures of both."""
    more = ("--steps", 2, "--batch-size", 8, "--learning-rate", 1e-3)
    assert pretrain(*more, "--out", tmp_path / "whole") == 0
    script = written(PROGRAM, tmp_path / "program.py")
    arguments = ["pretrain-tiny-clip", *map(str, more), "--out", str(tmp_path / "two")]
    launched(torchrun(2), [script, *arguments])
    first, second = (load_file(tmp_path / n / "state.safetensors") for n in ("whole", "two"))
    for name, tensor in first.items():
        if name.startswith("kept.") and not name.endswith("k_proj.bias"):
            torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-4, msg=name)
