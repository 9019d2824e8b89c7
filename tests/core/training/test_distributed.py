"""Training on two processes: the model of one process, one log, features encoded once."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vqazoo.config import run_config
from vqazoo.errors import TrainingError
from vqazoo.training.distributed import Group, join_group, local_device
from vqazoo.training.loop import run_training

PROGRAM = """
import os
os.write(2, f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n".encode())  # at once
from vqazoo.cli import main
main()
"""
EPOCHS = 2


def settings(table: Path, root: Path, batch_size: int) -> dict[str, Any]:
    return {
        "encoder": "tiny-clip",
        "head": {"type": "mlp", "args": {"hidden_dim": 16, "dropout": 0.0}},
        "fusion": {"type": "hadamard", "args": {"dim": 16}},
        "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
        "training": {
            "epochs": EPOCHS,
            "batch_size": batch_size,
            "learning_rate": 0.01,
            "epsilon": 1e-3,
            "cache": str(root),
            "device": "cpu",
        },
    }


def flags(table: Path, root: Path, out: Path, batch_size: int) -> list[str]:
    """The same, as a user types it."""
    sets = [
        'head={type="mlp",args={hidden_dim=16,dropout=0.0}}',
        'fusion={type="hadamard",args={dim=16}}',
        f"data.args.train={table}",
        "data.validation_fraction=0.25",
        f"training.epochs={EPOCHS}",
        f"training.batch_size={batch_size}",
        "training.learning_rate=0.01",
        "training.epsilon=1e-3",
        f"training.cache={root}",
        "training.device=cpu",
    ]
    sets = [part for one in sets for part in ("--set", one)]
    return ["train", "--encoder", "tiny-clip", "--data", "table", *sets, "--out", str(out)]


def launched(launcher: list[str], script: Path, arguments: list[str]) -> str:
    """What a launcher's processes say; they are run as the installed command is."""
    script.write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "no_proxy": "*"}
    done = subprocess.run(
        [sys.executable, "-m", *launcher, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert all(f"process {rank} of 2\n" in done.stderr for rank in (0, 1)), done.stderr
    return done.stderr


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def torchrun() -> list[str]:
    return [
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        free_port(),
    ]


def accelerate() -> list[str]:
    """As for GPUs, since several processes on CPUs need MPI; the run itself is on the CPU."""
    return [
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        free_port(),
    ]


def difference(a: Path, b: Path) -> float:
    """The largest difference between the trained weights of two runs."""
    first, second = (load_file(run / "state.safetensors") for run in (a, b))
    names = [name for name in first if name.startswith("model.")]
    assert first.keys() == second.keys()
    return max(float((first[n].float() - second[n].float()).abs().max()) for n in names)


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.proof
def test_two_processes_train_the_model_of_one(
    socket_enabled: None, table: Path, tmp_path: Path
) -> None:
    """Of 54 rows, batches of 7 leave one of 5; the shares differ. (Even ones: see accelerate.)"""
    alone, both = tmp_path / "alone", tmp_path / "both"
    run_training(run_config(settings(table, tmp_path / "cache", 7)), alone, report=len)
    said = launched(torchrun(), tmp_path / "main.py", flags(table, tmp_path / "new", both, 7))
    assert difference(alone, both) < 1e-5
    assert [line["epoch"] for line in log_of(both)] == list(range(1, EPOCHS + 1))
    for one, other in zip(log_of(alone), log_of(both), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert other["validation_loss"] == pytest.approx(one["validation_loss"], abs=1e-5)
    assert said.count("epoch 1/") == 1  # the first process speaks for both
    shards = [file.name for file in (tmp_path / "new").glob("*/shard-*")]
    assert shards == ["shard-000000.safetensors"] * 2  # pictures and questions, once
    assert (both / "best/model.safetensors").is_file()


@pytest.mark.proof
def test_accelerate_launches_the_same_run(
    socket_enabled: None, table: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("accelerate") is None:
        pytest.skip("accelerate is not installed")
    alone, both = tmp_path / "alone", tmp_path / "both"
    run_training(run_config(settings(table, tmp_path / "cache", 18)), alone, report=len)
    said = launched(accelerate(), tmp_path / "main.py", flags(table, tmp_path / "cache", both, 18))
    assert said.count("epoch 1/") == 1
    assert difference(alone, both) < 1e-5


def test_a_group_of_one_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = join_group(torch.device("cpu"))
    assert group == Group(1, 0)
    assert group.first
    rows = torch.arange(5)
    assert torch.equal(group.share(rows), rows)
    assert group.tell(2.5, torch.device("cpu")) == 2.5
    assert torch.equal(group.add(rows), rows)
    group.close()


@pytest.mark.parametrize("rows", [0, 1, 7, 8])
def test_shares_are_all_rows_once(rows: int) -> None:
    shares = [Group(3, rank).share(torch.arange(rows)).tolist() for rank in range(3)]
    assert sorted(row for share in shares for row in share) == list(range(rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_processes_that_cannot_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(TrainingError, match=r"Process 1 of 2 cannot join .* with torchrun or"):
        join_group(torch.device("cpu"))


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert local_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [local_device(name) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
        "cpu",
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device("auto") == "auto"


HEADS = {  # whose losses are means over tokens, or over classes that weigh unequally
    "gru": 'head={type="gru",args={hidden_dim=16,min_count=1}}',
    "linear": 'head={type="linear",args={hidden_dim=16,dropout=0.0,balance=0.7}}',
}


@pytest.mark.proof
@pytest.mark.parametrize("head", HEADS)
def test_processes_and_accumulated_batches_make_the_step_of_one_big_batch(
    socket_enabled: None, head: str, table: Path, tmp_path: Path
) -> None:
    """54 rows at once, against two processes with batches of 7 and one of 5, eight to a step."""
    parts = ["--set", HEADS[head], "--set", "data.most_answers=5"]
    big, cut = tmp_path / "big", tmp_path / "cut"
    alone = [*flags(table, tmp_path / "cache", big, 54), *parts]
    done = subprocess.run(
        [sys.executable, "-c", "from vqazoo.cli import main; main()", *alone],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    more = [*parts, "--set", "training.accumulate=8"]
    shared = [*flags(table, tmp_path / "cache", cut, 7), *more]
    launched(torchrun(), tmp_path / "main.py", shared)
    assert difference(big, cut) < 1e-5
    for one, other in zip(log_of(big), log_of(cut), strict=True):
        for name in one:
            if name.startswith(("loss", "validation_loss")):
                assert other[name] == pytest.approx(one[name], rel=1e-5), name


def test_a_parameter_that_no_process_used_stands_still_as_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes of equal gradients: the sum is the double, and no gradient stays none."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.mul_(2))
    used, idle = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    used.grad = torch.full((2, 2), 3.0)
    Group(2, 0).add_gradients([used, idle])
    assert used.grad.tolist() == [[6, 6], [6, 6]]
    assert idle.grad is None
