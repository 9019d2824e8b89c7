"""The engine in one process: shares, an update, what a launcher says, and who is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.processes import free_port
from tests.support.toy import toy  # noqa: F401
from vqazoo.config import TrainingConfig, run_config
from vqazoo.errors import ConfigError, TrainingError
from vqazoo.training import peers
from vqazoo.training.batch_loss import BatchLoss, shares
from vqazoo.training.engine import Engine, _accelerator, local_device, start
from vqazoo.training.launcher import heed_launcher, launched_processes, speaks_for_all
from vqazoo.training.learner import Learner
from vqazoo.training.loop import run_training
from vqazoo.training.run_folder import one_writer


@pytest.fixture(autouse=True)
def unlaunched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


class Halves(nn.Module):
    """The squared error of some rows, divided by the rows of the whole step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.idle = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, batch: tuple[Tensor, Tensor, int]) -> tuple[Tensor, float]:
        x, y, whole = batch
        loss = ((self.layer(x)[:, 0] - y) ** 2).sum() / whole
        return loss, loss.item()


def test_an_engine_without_a_launcher_needs_nobody() -> None:
    with start("cpu") as engine:
        assert (engine.processes, engine.rank, engine.first, engine.sharded) == (1, 0, True, False)
        rows = torch.arange(5)
        assert torch.equal(engine.share(rows), rows)
        assert engine.tell(2.5) == 2.5
        assert torch.equal(engine.add(rows), rows)
        assert torch.equal(engine.gather(rows), rows)


@pytest.mark.parametrize("cut", [8, 3, 1])
def test_an_update_of_several_batches_is_that_of_plain_torch(cut: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(8, 3, generator=generator), torch.randn(8, generator=generator)
    plain = Halves()
    expected = torch.optim.AdamW(plain.parameters(), lr=0.5)
    module = Halves()
    optimiser = torch.optim.AdamW(module.parameters(), lr=1.0)
    told: list[Any] = []
    with start("cpu") as engine:
        learner = Learner(engine, module, module, optimiser, clip_norm=0.1, clip_value=0.2)
        for rate in (0.5, 0.25):
            expected.param_groups[0]["lr"] = rate
            plain((x, y, 8))[0].backward()
            torch.nn.utils.clip_grad_value_(plain.parameters(), 0.2)
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
            expected.step()
            expected.zero_grad()
            batches = [(a, b, 8) for a, b in zip(x.split(cut), y.split(cut), strict=True)]
            learner.update(batches, [rate], lambda batch, loss: told.append(loss))
    assert len(told) == 2 * -(-8 // cut)
    for (name, trained), known in zip(module.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(trained, known, msg=name)
    assert not optimiser.state[module.idle.weight]  # what nobody used stands still


def test_an_update_can_be_taken_up_where_it_was_left() -> None:
    batch = (torch.ones(2, 3), torch.zeros(2), 2)
    made = []
    for cut in (False, True):
        module = Halves()
        kept: dict[str, Any] = {}
        for steps in (1, 2) if cut else (3,):
            with start("cpu") as engine:
                optimiser = torch.optim.AdamW(module.parameters())
                learner = Learner(engine, module, module, optimiser, average=0.5)
                if kept:
                    learner.restore(kept, {}, 1)
                for _ in range(steps):
                    learner.update([batch], [0.1], lambda batch, told: None)
                kept = {name: tensor.clone() for name, tensor in learner.tensors().items()}
        made.append({**kept, **module.state_dict()})
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


class Product(nn.Linear):
    """Tells the dtype in which it computes."""

    def forward(self, x: Tensor) -> Any:
        made = super().forward(x)
        return made.float().sum(), made.dtype


def test_runs_of_other_precisions_follow_each_other_and_leave_the_callers_accelerator() -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    mine = Accelerator(cpu=True)
    dtypes: list[torch.dtype] = []
    try:
        for precision in ("bf16", "float32", "fp16"):
            module = Product(2, 2)
            with start("cpu", precision) as engine:
                learner = Learner(engine, module, module, torch.optim.SGD(module.parameters()))
                learner.update([torch.ones(1, 2)], [0.1], lambda batch, told: dtypes.append(told))
                assert (engine.scaler is not None) == (precision == "fp16")
        assert dtypes == [torch.bfloat16, torch.float32, torch.float16]
        assert mine.mixed_precision == "no"
        assert mine.device.type == "cpu"
    finally:
        AcceleratorState._reset_state(True)


def group(rank: int, processes: int) -> Engine:
    engine = Engine.__new__(Engine)
    engine.rank, engine.processes = rank, processes
    return engine


@pytest.mark.parametrize("rows", [0, 1, 7, 8])
def test_shares_are_all_rows_once(rows: int) -> None:
    parts = [group(rank, 3).share(torch.arange(rows)).tolist() for rank in range(3)]
    assert sorted(row for part in parts for row in part) == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_process_without_rows_takes_part_and_counts_nothing() -> None:
    """Of a batch of one row the second process has none; its batch norm learns nothing."""
    import vqazoo
    from vqazoo.interfaces import Features

    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b"])
    dim = 512
    norm = nn.BatchNorm1d(dim)

    class Source:
        def batch(self, rows: Tensor) -> tuple[Features, Features]:
            return (Features(torch.ones(len(rows), dim)),) * 2

    class Joined(nn.Module):
        def forward(self, image: Features, question: Features) -> Features:
            assert image.pooled is not None
            return Features(norm(image.pooled))

    model.fusion = Joined()  # type: ignore[assignment]
    model.fusion.norm = norm  # type: ignore[assignment]
    model.train()
    step = BatchLoss(
        model,
        Source(),
        {"answer": torch.zeros(1, 1).long(), "weight": torch.ones(1, 1)},
        torch.device("cpu"),
    )
    (batch,) = shares([torch.tensor([0])], {"answer": torch.ones(1)}, group(1, 2), 1, 0)
    assert not len(batch.rows)
    loss, told = step(batch)
    loss.backward()
    assert loss.item() == 0
    assert all(total.item() == 0 for total in told.sums.values())
    assert norm.num_batches_tracked == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.head.parameters())


# ---- devices and launchers ----------------------------------------------------------------------


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert local_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "1")
    named = [local_device(name) for name in ("auto", "cuda", "cuda:0", "cpu")]
    assert named == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device("auto") == "auto"


def test_processes_that_cannot_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with (
        pytest.raises(TrainingError, match=r"Process 1 of 2 cannot join .* with torchrun or"),
        start("cpu"),
    ):
        pass
    assert "LOCAL_RANK" not in os.environ  # nor anything else that Accelerate adds


LAUNCHED = [
    ({}, (1, 0)),
    ({"RANK": "3"}, (1, 0)),  # left over: there is one process
    ({"WORLD_SIZE": "4", "RANK": "3"}, (4, 3)),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "MASTER_ADDR": "a"}, (2, 1)),
    ({"PMI_SIZE": "8", "PMI_RANK": "7"}, (1, 0)),  # of Slurm, for processes that never meet
]


@pytest.mark.parametrize(("variables", "found"), LAUNCHED)
def test_which_process_writes_is_what_accelerate_says(
    variables: dict[str, str],
    found: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from accelerate.utils import get_cpu_distributed_information

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_processes() == found
    if found[0] > 1:
        theirs = get_cpu_distributed_information()
        assert (theirs.world_size, theirs.rank) == found
    with one_writer(folder := tmp_path / "run"):
        assert folder.exists() == speaks_for_all() == (found[1] == 0)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK"])
def test_a_launcher_whose_variables_are_no_numbers_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "two")
    with pytest.raises(ConfigError, match=f"The variable {name} is 'two', but a number"):
        launched_processes()


def test_a_process_that_is_alone_does_not_take_itself_for_one_of_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, where Accelerate joins no others without LOCAL_RANK."""
    import accelerate

    monkeypatch.setenv("WORLD_SIZE", "2")
    alone = SimpleNamespace(num_processes=1)
    monkeypatch.setattr(accelerate, "Accelerator", lambda **given: alone)
    with pytest.raises(ConfigError, match="2 processes train together, but this one is alone"):
        _accelerator(torch.device("cpu"), "float32")


WAITS = """
import sys
from vqazoo.training.engine import start
print("joining", flush=True)
with start("cpu"):
    pass
"""


@pytest.mark.apart
def test_a_process_that_waits_for_the_others_is_ended_by_ctrl_c(socket_enabled: None) -> None:
    """PyTorch waits in code that hears no signal."""
    meeting = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "LOCAL_RANK": "0"}
    environment = {**os.environ, **meeting, "MASTER_PORT": free_port()}
    program = [sys.executable, "-c", WAITS]
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment) as waiting:
        try:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == b"joining\n"
            time.sleep(6)
            assert waiting.poll() is None
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(timeout=10) == -signal.SIGINT
        finally:
            waiting.kill()


def test_a_launcher_says_what_the_recipe_leaves_open(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = TrainingConfig()
    assert heed_launcher(usual) == usual
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # also where it was told nothing
    assert heed_launcher(TrainingConfig(precision="bf16")).precision == "bf16"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    heeded = heed_launcher(usual)
    assert (heeded.precision, heeded.accumulate) == ("bf16", 4)
    assert heed_launcher(heeded) == heeded


@pytest.mark.parametrize(
    ("variable", "value", "ours", "words"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", {"precision": "bf16"}, "is bf16, but the launcher"),
        ("ACCELERATE_MIXED_PRECISION", "fp8", {}, "mixed_precision 'fp8'"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", {"accumulate": 2}, "is 2, but .* says 4"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto", {}, "'auto', but must be a whole"),
        ("ACCELERATE_USE_CPU", "true", {"device": "cuda"}, "says use_cpu"),
        ("ACCELERATE_USE_DEEPSPEED", "true", {}, "asks for DeepSpeed"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", {}, "torch.compile .dynamo_backend: INDUCTOR"),
    ],
)
def test_a_launcher_that_says_another_thing_is_told(
    variable: str,
    value: str,
    ours: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=words):
        heed_launcher(TrainingConfig(**ours))


def test_the_first_version_of_fsdp_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(ConfigError, match="fsdp_version: 2"), start("cpu"):
        pass


def test_the_launchers_precision_is_in_the_recipe_and_resuming_notices_another(
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = {
        "encoder": "toy",
        "head": {"type": "mlp", "args": {"hidden_dim": 8}},
        "fusion": {"type": "hadamard", "args": {"dim": 8}},
        "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
        "training": {"epochs": 1, "device": "cpu", "cache": str(tmp_path / "cache")},
    }
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    run_training(run_config(tables), tmp_path / "run", report=len)
    assert 'precision = "bf16"' in (tmp_path / "run/recipe.toml").read_text()
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert environment["versions"]["accelerate"]
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    with pytest.raises(TrainingError, match="The config differs"):
        run_training(run_config(tables), tmp_path / "run", resume=True, report=len)


# ---- who is gone --------------------------------------------------------------------------------


def pair(first: int, second: int) -> peers.Peers:
    """Two processes of this machine, of which this one is the first."""
    made = peers.Peers(0, lambda own: torch.cat([own, own]))
    made._all[0][1], made._all[1][1] = first, second
    return made


def test_only_failures_that_follow_from_a_killed_process_are_its() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    both = pair(os.getpid(), int(ended.stdout))
    for error in (RuntimeError("gloo: Connection closed by peer"), KeyboardInterrupt()):
        with (
            pytest.raises(TrainingError, match=r"Process 1 of 2 is gone.* --resume"),
            both.watched(),
        ):
            raise error
    with pytest.raises(ValueError, match="my own"), both.watched():
        raise ValueError("my own")
    with pytest.raises(KeyboardInterrupt), pair(os.getpid(), os.getppid()).watched():
        raise KeyboardInterrupt  # both are told to end


def test_accelerate_is_imported_when_a_run_starts() -> None:
    code = "import sys, vqazoo, vqazoo.training.loop; print('accelerate' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
