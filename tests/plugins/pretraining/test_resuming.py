"""An interrupted pretraining or CapFilt goes on, and ends as the uninterrupted one does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.processes import launched, torchrun, written
from tests.support.warm import finished
from vqazoo.cli import run
from vqazoo_blip.objectives import BLIPObjectives
from vqazoo_blip2.objectives import QFormerObjectives
from vqazoo_pretraining import capfilt as cleaning
from vqazoo_tiny_clip.pretrain import write_pictures

SMALL = ("--dim", 16, "--layers", 1, "--heads", 2, "--batch-size", 16, "--steps", 5)
BLIP = (*SMALL, "--set", "objectives.args.queue=32")
Q_FORMER = (*SMALL, "--architecture", "q-former", "--set", "fusion.args.queries=3")
UNSURE = ("seconds", "training_seconds")  # of figures and logs
KILLED = """
import os, signal, sys
from vqazoo_blip.objectives import BLIPObjectives
real, steps = BLIPObjectives.after_step, []
def after_step(self):
    real(self)
    steps.append(1)
    if len(steps) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
BLIPObjectives.after_step = after_step
from vqazoo.cli import run
sys.exit(run(sys.argv[2:]))
"""
SEVERAL = """
import os, sys
rank, size = os.environ["RANK"], os.environ["WORLD_SIZE"]
os.write(2, f"process {rank} of {size}: {os.getpid()}\\n".encode())
from vqazoo.cli import run
for line in open(sys.argv[1]):
    if code := run(line.split()):
        sys.exit(code)
"""


def verb(name: str, *arguments: object) -> int:
    return run([name, "--quiet", *map(str, arguments)])


def left(folder: Path) -> dict[str, Any]:
    """Everything in a run folder but times, by the path of its file."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".safetensors":
            tensors = load_file(file).items()
            found[file.relative_to(folder).as_posix()] = {n: t.tolist() for n, t in tensors}
        elif file.suffix == ".jsonl":
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            found[file.name] = [{k: v for k, v in row.items() if k not in UNSURE} for row in rows]
        elif file.name in ("figures.json", "report.json"):
            figures = json.loads(file.read_text())
            found[file.name] = {k: v for k, v in figures.items() if k not in UNSURE}
    return found


def stopping(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Ctrl-C comes at the end of a call."""
    real, calls = getattr(owner, name), []

    def stop(*given: Any, **named: Any) -> Any:
        done = real(*given, **named)
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(owner, name, stop)


@pytest.mark.parametrize(
    ("arguments", "owner", "call"),
    [(BLIP, BLIPObjectives, 4), (Q_FORMER, QFormerObjectives, 3)],
    ids=["blip", "q-former"],
)
def test_an_interrupted_run_goes_on_to_the_same_end(
    arguments, owner, call, shapes, tmp_path, monkeypatch, capsys
):
    more = ("--data", shapes, "--save-every", 2, "--accumulate", 2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert verb("pretrain", *arguments, *more, "--out", whole) == 0
    with monkeypatch.context() as patch:
        stopping(patch, owner, "after_step", call)
        assert verb("pretrain", *arguments, *more, "--out", parts) == 130
    told = capsys.readouterr().err
    assert f"saved last with  vqazoo pretrain --resume --out {parts}" in told
    torch.manual_seed(1234)
    assert verb("pretrain", "--resume", "--out", parts) == 0
    assert left(parts) == left(whole)
    assert verb("pretrain", "--resume", "--out", parts) == 0, "a run that is over is measured again"
    assert left(parts) == left(whole)


@pytest.fixture(scope="module")
def short(shapes, tmp_path_factory):
    """A run that saved one step, and captions of its own."""
    out = tmp_path_factory.mktemp("short")
    write_pictures(out / "data", 40, seed=9)
    data = out / "data/captions.jsonl"
    assert verb("pretrain", *BLIP, "--steps", 1, "--data", data, "--out", out / "run") == 0
    return out / "run", data


def test_other_options_data_and_folders_are_told(short, tmp_path, capsys):
    out, data = short

    def told(*arguments: object) -> str:
        assert verb("pretrain", *arguments) == 1
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "already holds a run: add --resume" in told("--data", data, "--out", out)
    assert "There is no run to resume" in told("--resume", "--out", tmp_path / "none")
    said = told("--resume", "--out", out, "--learning-rate", 0.5)
    assert "learning_rate is 0.5, but was 0.0005" in said
    before = data.read_text()
    data.write_text(before.replace("circle", "disc"))
    assert "The data differ" in (said := told("--resume", "--out", out))
    assert "training pairs" in said
    data.write_text(before)
    state = out / "state.safetensors"
    content = state.read_bytes()
    state.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    assert "was changed since it was written" in told("--resume", "--out", out)
    state.write_bytes(content[:100])
    assert "cannot be read" in told("--resume", "--out", out)
    state.write_bytes(content)


@pytest.mark.proof
def test_a_full_disk_leaves_the_state_of_before(shapes, tmp_path, monkeypatch, capsys):
    import vqazoo.training.state_file as module

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ("--data", shapes, "--save-every", 2)
    assert verb("pretrain", *BLIP, *more, "--out", whole) == 0
    real, calls = module.write_file, []

    def full(file, content):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_file", full)
        assert verb("pretrain", *BLIP, *more, "--out", parts) == 1
    assert "run the same command again, with --resume if" in capsys.readouterr().err
    assert verb("pretrain", "--resume", "--out", parts) == 0
    assert left(parts) == left(whole)


@pytest.fixture(scope="module")
def cleaned(shapes, noisy, tmp_path_factory):
    """What a pretrained model, and a set cleaned with it, is."""
    out = tmp_path_factory.mktemp("cleaned")
    assert verb("pretrain", *BLIP, "--data", shapes, "--out", out / "start") == 0
    given = ("--data", noisy, "--human", shapes, "--start", out / "start", "--steps", 3)
    given = (*given, "--batch-size", 16, "--threshold", 0.3, "--save-every", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "WRITE_BATCH", 16)
        patch.setattr(cleaning, "MATCHED", 16)
        assert verb("capfilt", *given, "--out", out / "whole") == 0
    return given, out / "whole"


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        pytest.param(BLIPObjectives, "after_step", 3, marks=pytest.mark.proof, id="captioner"),
        pytest.param(cleaning, "write_captions", 2, id="captions"),
        pytest.param(BLIPObjectives, "after_step", 6, marks=pytest.mark.proof, id="filter"),
        pytest.param(cleaning, "match_all", 2, marks=pytest.mark.proof, id="noisy matches"),
        pytest.param(cleaning, "match_all", 6, marks=pytest.mark.proof, id="matches"),
    ],
)
def test_an_interrupted_cleaning_goes_on_without_repeating_a_stage(
    owner, name, call, cleaned, tmp_path, monkeypatch
):
    given, whole = cleaned
    monkeypatch.setattr(cleaning, "WRITE_BATCH", 16)
    monkeypatch.setattr(cleaning, "MATCHED", 16)
    out = tmp_path / whole.name  # beside nothing, so that relative paths differ
    with monkeypatch.context() as patch:
        stopping(patch, owner, name, call)
        assert verb("capfilt", *given, "--out", out) == 130
    stages = out / "stages.jsonl"
    before = stages.read_bytes() if stages.exists() else b""
    with open(stages, "ab") as file:
        file.write(b'{"stage": "wri')  # a line that a kill cut off
    assert verb("capfilt", "--resume", "--out", out) == 0
    assert stages.read_bytes().startswith(before)
    again, first = left(out), left(whole)
    assert again["state.safetensors"] == first["state.safetensors"]
    assert again["stages.jsonl"] == first["stages.jsonl"]
    for row in (*again["captions.jsonl"], *again["decisions.jsonl"]):
        assert (out / row["image"]).exists()
    for name in ("captions.jsonl", "decisions.jsonl"):
        rows = [[{**row, "image": ""} for row in kept[name]] for kept in (again, first)]
        assert rows[0] == rows[1]
    assert again["report.json"] == first["report.json"]


def test_a_changed_line_of_a_stage_is_told(cleaned, tmp_path, capsys):
    given, _ = cleaned
    out = tmp_path / "out"
    assert verb("capfilt", *given, "--out", out) == 0
    stages = out / "stages.jsonl"
    stages.write_text(stages.read_text().replace('"values": ["', '"values": ["x', 1))
    assert verb("capfilt", "--resume", "--out", out) == 1
    assert "Line 1 of" in (said := capsys.readouterr().err)
    assert "was changed since it was written" in said


def test_half_precision_learns_too(shapes, tmp_path):
    for precision, arguments in (("bf16", BLIP), ("bf16", Q_FORMER), ("fp16", BLIP)):
        out = tmp_path / f"{precision}{len(arguments)}"
        more = ("--data", shapes, "--precision", precision, "--steps", 2, "--out", out)
        assert verb("pretrain", *arguments, *more) == 0
        log = json.loads((out / "log.jsonl").read_text())
        assert 0 < log["loss"] < 50


@pytest.mark.proof
def test_a_killed_run_goes_on_to_the_same_end(shapes, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ("--data", shapes, "--save-every", 2)
    assert verb("pretrain", *BLIP, *more, "--out", whole) == 0
    arguments = (*BLIP, *more, "--out", parts)
    done = finished(KILLED, 3, "pretrain", "--quiet", *arguments, timeout=120)
    assert done.returncode == -9
    assert verb("pretrain", "--resume", "--out", parts) == 0
    assert left(parts) == left(whole)


@pytest.mark.apart
def test_several_processes_take_the_steps_of_one(socket_enabled, shapes, noisy, tmp_path):
    """Weights, queues, momentum copies and false pairs; without dropout, which each draws."""
    still = [f"{part}.args.dropout=0.0" for part in ("text_encoder", "fusion", "head")]
    still = [part for name in still for part in ("--set", name)]
    q_former = ("--set", "text_encoder.args.dropout=0.0", "--set", "fusion.args.dropout=0.0")
    runs = {
        "blip": (*BLIP, *still, "--save-every", 3),
        "accumulated": (*BLIP, *still, "--accumulate", 2, "--no-hard-negatives"),
        "q-former": (*Q_FORMER, *q_former),
    }
    lines = []
    for name, arguments in runs.items():
        more = (*arguments, "--learning-rate", 1e-3, "--data", shapes)
        assert verb("pretrain", *more, "--out", tmp_path / name) == 0
        lines.append(["pretrain", "--quiet", *more, "--out", tmp_path / f"{name}-two"])
    start = ("--start", tmp_path / "blip", "--data", noisy, "--human", shapes)
    more = (*start, "--steps", 2, "--batch-size", 16)
    assert verb("capfilt", *more, "--out", tmp_path / "clean") == 0
    lines.append(["capfilt", "--quiet", *more, "--out", tmp_path / "clean-two"])
    file = tmp_path / "runs.txt"
    file.write_text("\n".join(" ".join(map(str, line)) for line in lines) + "\n")
    launched(torchrun(2), [written(SEVERAL, tmp_path / "several.py"), str(file)])
    for name in runs:
        first, second = (
            load_file(tmp_path / n / "state.safetensors") for n in (name, f"{name}-two")
        )
        # AdamW scales gradients up that are little more than rounding, as the Q-Former's small
        # projections have; so its weights are compared less closely than its gradients.
        near = {"kept": 2e-4 if name == "q-former" else 1e-5, "optimiser": 1e-7, "random": 255}
        for tensor in first:
            if tensor.endswith("key.bias"):  # changes no attention: its gradient is rounding alone
                continue
            torch.testing.assert_close(
                second[tensor].float(),
                first[tensor].float(),
                rtol=0,
                atol=near[tensor.partition(".")[0]],
                msg=f"{name}: {tensor}",
            )
    assert (tmp_path / "clean-two/report.json").exists()
    assert sorted(os.listdir(tmp_path / "clean")) == sorted(os.listdir(tmp_path / "clean-two"))


def test_a_run_that_is_not_there_leaves_no_folder_when_it_is_resumed(tmp_path, capsys):
    for name in ("pretrain", "capfilt", "pretrain-tiny-clip", "pretrain-tiny-lm"):
        assert run([name, "--resume", "--out", str(tmp_path / "no")]) == 1, name
        assert "There is no run to resume" in capsys.readouterr().err
        assert not (tmp_path / "no").exists()
