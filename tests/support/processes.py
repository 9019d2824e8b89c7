"""Several processes of this machine that train together: starting them, and what they left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

PROGRAM = """
import os
os.write(2, f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: {os.getpid()}\\n".encode())
from vqazoo.cli import main
main()
"""
MANY = '''
"""Trains one configuration after the other: [[tables, out], ...] in a JSON file."""
import json, os, sys
os.write(2, f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: {os.getpid()}\\n".encode())
from vqazoo.config import run_config
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder
from vqazoo.training.loop import run_training
registry.register("encoder", "toy", TOY)(ToyEncoder)
for tables, out in json.load(open(sys.argv[1])):
    run_training(run_config(tables), __import__("pathlib").Path(out), report=len)
'''
CONFIG = """compute_environment: LOCAL_MACHINE
debug: false
distributed_type: MULTI_GPU
num_machines: 1
num_processes: {processes}
main_process_port: {port}
mixed_precision: '{precision}'
machine_rank: 0
dynamo_backend: 'NO'
{more}"""
SHARDED = """fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: {layer}
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
"""


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def torchrun(processes: int = 2) -> list[str]:
    return [
        "torch.distributed.run",
        "--nproc-per-node",
        str(processes),
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        free_port(),
    ]


def accelerate(
    file: Path, processes: int = 2, precision: str = "no", layer: str = ""
) -> list[str]:
    """By a config file, as `accelerate config` writes it; sharded if a layer is to be wrapped.

    As for GPUs, since several processes on CPUs need MPI there; the run itself is on the CPU.
    """
    more = SHARDED.format(layer=layer) if layer else ""
    text = CONFIG.format(processes=processes, port=free_port(), precision=precision, more=more)
    file.write_text(text.replace("MULTI_GPU", "FSDP") if layer else text)
    return ["accelerate.commands.launch", "--config_file", str(file)]


def begun(launcher: list[str], arguments: list[str]) -> subprocess.Popen[str]:
    """A launcher's processes, which run; the first argument is their script."""
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "no_proxy": "*"},
    )


def launched(launcher: list[str], arguments: list[str], processes: int = 2) -> str:
    """What a launcher's processes say, once they have ended well."""
    running = begun(launcher, arguments)
    try:
        _, said = running.communicate(timeout=240)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert all(f"process {rank} of {processes}:" in said for rank in range(processes)), said
    return said


def difference(a: Path, b: Path) -> float:
    """The largest difference between the trained weights of two runs."""
    first, second = (load_file(run / "state.safetensors") for run in (a, b))
    names = [name for name in first if name.startswith("model.")]
    assert first.keys() == second.keys()
    return max(float((first[n].float() - second[n].float()).abs().max()) for n in names)


def written(program: str, file: Path) -> str:
    file.write_text(program)
    return str(file)


