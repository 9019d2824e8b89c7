"""What a launcher says: `accelerate launch` with its config file, torchrun, or MPI.

It speaks by environment variables. Imports neither torch nor accelerate.
"""

from __future__ import annotations

import os
from dataclasses import replace

from vqazoo.config import TrainingConfig
from vqazoo.errors import ConfigError

PRECISION, ACCUMULATE = "ACCELERATE_MIXED_PRECISION", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
COMPILER = "ACCELERATE_DYNAMO_BACKEND"
CPU, SHARDING, SHARDING_VERSION = "ACCELERATE_USE_CPU", "ACCELERATE_USE_FSDP", "FSDP_VERSION"
LEFT_WHOLE, OFFLOADING = "FSDP_IGNORED_MODULES", "FSDP_OFFLOAD_PARAMS"
OTHERS = {  # of Accelerate's engines
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
}
MEETING_PLACE = "MASTER_ADDR"
MPI = ("PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD")  # as Accelerate knows it
NAMES = {"no": "float32", "fp32": "float32", "bf16": "bf16", "fp16": "fp16"}


def heed_launcher(training: TrainingConfig) -> TrainingConfig:
    """The settings with what the launcher says, where they are at their defaults.

    Raises:
        ConfigError: the launcher says another thing than the settings, or what is not offered.
    """
    for variable, engine in OTHERS.items():
        if _said(variable):
            raise ConfigError(
                f"The launcher asks for {engine}, on which vqazoo does not train: choose one "
                f"process, several (DDP) or FSDP with 'accelerate config'."
            )
    if (compiler := os.environ.get(COMPILER, "no")).lower() not in ("no", ""):
        raise ConfigError(
            f"The launcher asks for torch.compile (dynamo_backend: {compiler}), which vqazoo does "
            f"not train with: a step's batches change their shapes, and each would be compiled "
            f"anew; say no to torch dynamo in 'accelerate config'."
        )
    usual = TrainingConfig()
    precision = _precision(training.precision, usual.precision)
    accumulate = training.accumulate
    asked = _accumulate()
    if accumulate == usual.accumulate:
        accumulate = asked
    elif asked not in (usual.accumulate, accumulate):
        raise ConfigError(
            f"training.accumulate is {accumulate}, but the launcher says {asked} "
            f"(gradient_accumulation_steps): say it in one place, or the same in both."
        )
    if _said(CPU) and training.device not in ("auto", "cpu"):
        raise ConfigError(
            f"training.device is '{training.device}', but the launcher says use_cpu: say it in "
            f"one place, or the same in both."
        )
    return replace(training, precision=precision, accumulate=accumulate)


def _precision(ours: str, usual: str) -> str:
    said = os.environ.get(PRECISION, "no").lower()
    if said not in NAMES:
        raise ConfigError(
            f"The launcher asks for mixed_precision '{said}', but vqazoo trains in no (float32), "
            f"bf16 or fp16: choose one of these with 'accelerate config'."
        )
    asked = NAMES[said]
    if ours == usual or asked == usual:  # "no" is also what a launcher says that was told nothing
        return asked if ours == usual else ours
    if asked != ours:
        raise ConfigError(
            f"training.precision is {ours}, but the launcher says {asked} (mixed_precision): say "
            f"it in one place, or the same in both."
        )
    return ours


def _accumulate() -> int:
    said = os.environ.get(ACCUMULATE, "1")
    if not said.isdigit() or int(said) < 1:
        raise ConfigError(
            f"The launcher's gradient_accumulation_steps is '{said}', but must be a whole number, "
            f"1 or more: set it with 'accelerate config'."
        )
    return int(said)


def launched_processes() -> tuple[int, int]:
    """How many processes a launcher started, and which one this is; one without a launcher.

    Raises:
        ConfigError: the variables say something else.
    """
    if (size := _number("WORLD_SIZE", 1)) > 1:
        return size, _number("RANK", 0)
    # MPI, and Slurm with it, also starts processes that have nothing to do with each other.
    for mpi in MPI if MEETING_PLACE in os.environ else ():
        if (size := _number(f"{mpi}_SIZE", 1)) > 1:
            return size, _number(f"{mpi}_RANK", 0)
    return 1, 0


def speaks_for_all() -> bool:
    """Whether this process is alone, or the first of those that a launcher started: it writes and
    reports. Raises ConfigError, as `launched_processes`.
    """
    return launched_processes()[1] == 0


def _number(variable: str, usual: int) -> int:
    said = os.environ.get(variable, str(usual))
    if not (said.isascii() and said.isdigit()):
        raise ConfigError(
            f"The variable {variable} is '{said}', but a number was expected, as torchrun and "
            f"accelerate launch set it: unset it, or start the run with one of these."
        )
    return int(said)


def sharding_asked() -> bool:
    """Whether the launcher asks for FSDP.

    Raises:
        ConfigError: for its first version, whose weights are named and held otherwise, and for
            modules that it leaves out.
    """
    if not _said(SHARDING):
        return False
    if (version := os.environ.get(SHARDING_VERSION, "1")) != "2":
        raise ConfigError(
            f"The launcher asks for FSDP version {version}, but vqazoo trains on version 2: set "
            f"fsdp_version: 2 in the config file, or --fsdp_version 2."
        )
    if (modules := os.environ.get(LEFT_WHOLE, "")) not in ("", "None"):
        raise ConfigError(
            f"The launcher asks FSDP to leave out some modules (fsdp_ignored_modules: {modules}), "
            f"whose gradients would stay those of each process: leave it out of the config file."
        )
    return True


def offloading_asked() -> bool:
    """Whether the launcher asks FSDP to keep weights in main memory."""
    return _said(SHARDING) and _said(OFFLOADING)


def on_cpu(device: str) -> str:
    """The device, which a launcher may turn from `auto` into the CPU."""
    return "cpu" if device == "auto" and _said(CPU) else device


def _said(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1", "yes")
