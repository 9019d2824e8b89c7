"""The engine that training runs on: one process or several, precision, sharding, by Accelerate.

Imports torch; accelerate only when an engine starts. Every process sees its share of each batch;
gradients are added up, so the step is that of one process with the whole batch. Only the first
process writes and reports.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from vqazoo.errors import ConfigError, TrainingError
from vqazoo.model import pick_device
from vqazoo.training.launcher import launched_processes, offloading_asked, on_cpu, sharding_asked
from vqazoo.training.peers import Peers

if TYPE_CHECKING:
    from accelerate import Accelerator

WAIT = timedelta(hours=1)  # for a process of another machine that no longer speaks
PRECISIONS = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}  # as Accelerate calls them
ADDED = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "ACCELERATE_", "FSDP_")  # of variables
CALLED = ("encode_image", "encode_text", "loss_sums", "loss")  # of parts, besides forward

M = TypeVar("M", bound=nn.Module)


class Engine:
    """Where a run computes; made by `start`, closed by leaving its block.

    Attributes:
        device: of this process.
        processes: how many train together; rank: which one this is, from 0.
        sharded: whether each holds only a part of the weights (FSDP).
    """

    def __init__(self, accelerator: Accelerator, device: torch.device) -> None:
        self._accelerator, self.device = accelerator, device
        self.processes, self.rank = accelerator.num_processes, accelerator.process_index
        self.sharded = accelerator.is_fsdp2
        self._module: nn.Module | None = None  # as prepared
        self._optimiser: Any = None
        self.peers = Peers(self.rank, self.gather)

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """Of the loss in fp16, whose small gradients would vanish."""
        return cast("torch.amp.GradScaler | None", self._accelerator.scaler)

    # ---- what trains ------------------------------------------------------------------------

    def whole_or_copy(self, module: M) -> M:
        """The module to prepare: itself, or a copy where weights are sharded, so that the original
        stays whole: `take_weights` brings it up to date in the first process.
        """
        return shardable(copy.deepcopy(module)) if self.sharded else module

    def prepare(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Train this module from now on, whose forward computes the loss, with this optimiser.

        Where weights are sharded its parameters are others afterwards: ask it for them again.

        Raises:
            ConfigError: the weights cannot be sharded as the launcher says.
        """
        accelerator = self._accelerator
        accelerator.free_memory()  # of the stage before
        with _sharding() if self.sharded else contextlib.nullcontext():
            self._module, self._optimiser = accelerator.prepare(module, optimiser)
        if self.sharded:
            from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

            for part in module.modules():
                for name in CALLED:
                    if isinstance(part, FSDPModule) and hasattr(part, name):
                        register_fsdp_forward_method(part, name)

    def forward(self, *inputs: Any) -> Any:
        """What the prepared module makes of the inputs, in the run's precision."""
        assert self._module is not None
        return self._module(*inputs)

    @contextlib.contextmanager
    def collecting(self, last: bool) -> Iterator[None]:
        """Gradients add up in this process; those of all processes after the `last` batch."""
        with contextlib.nullcontext() if last else self._accelerator.no_sync(self._module):
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this process's part of the loss: they are summed over processes."""
        if self.processes > 1:
            loss = loss * self.processes  # since DDP and FSDP give the mean
        self._accelerator.backward(loss)

    def clip(self, parameters: Iterable[Tensor], norm: float = 0.0, value: float = 0.0) -> None:
        """Limit gradients by value, by norm, or both; 0: not."""
        accelerator, each = self._accelerator, list(parameters)
        if value > 0 and self.scaler is None:
            torch.nn.utils.clip_grad_value_(each, value)
        elif value > 0:
            accelerator.clip_grad_value_(each, value)
        if norm > 0 and (self.scaler is None or value <= 0):
            accelerator.clip_grad_norm_(each, norm)
        elif norm > 0:  # unscaled already
            torch.nn.utils.clip_grad_norm_(each, norm)

    def step(self) -> None:
        """One step of the optimiser, left out where fp16 overflowed; gradients are none again."""
        self._optimiser.step()
        self._optimiser.zero_grad()

    # ---- between processes ------------------------------------------------------------------

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of the rows of a batch."""
        return rows[self.rank :: self.processes]

    def add(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        return cast(Tensor, self._accelerator.reduce(values)) if self.processes > 1 else values

    def gather(self, values: Tensor) -> Tensor:
        """The rows of all processes, in their order; all have equally many. No gradient."""
        return cast(Tensor, self._accelerator.gather(values)) if self.processes > 1 else values

    def tell(self, value: float) -> float:
        """The first process's value, on all of them; they wait for it."""
        if self.processes == 1:
            return value
        from accelerate.utils import broadcast

        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        return float(cast(Tensor, broadcast(shared)).item())

    def take_weights(self, whole: nn.Module, prepared: nn.Module) -> None:
        """Give the whole module, in the first process, the weights of its prepared copy.

        All processes must call it. Does nothing where the two are the same.
        """
        if whole is prepared:
            return
        target = whole.state_dict()
        with torch.no_grad():
            for name, tensor in prepared.state_dict().items():
                full = full_tensor(tensor)
                if self.first:
                    target[name].copy_(full)

    # ---- the end ----------------------------------------------------------------------------

    def wait(self) -> None:
        """Until all processes are here."""
        self.tell(0.0)


@contextlib.contextmanager
def start(device: str = "auto", precision: str = "float32") -> Iterator[Engine]:
    """The engine of a run, inside this block; without a launcher, of one process.

    One at a time in a process; an Accelerator that the caller has keeps its state.

    Raises:
        TrainingError: the processes cannot reach each other, or one of them is gone.
        ConfigError: the device cannot be used, or the launcher asks for what is not offered.
    """
    from accelerate.state import AcceleratorState, GradientState, PartialState

    chosen = pick_device(on_cpu(local_device(device)))
    states = (AcceleratorState, PartialState, GradientState)
    variables = dict(os.environ)  # Accelerate adds some
    before = [dict(state._shared_state) for state in states]  # singletons, of which no run may
    for state in states:  # inherit another's precision
        state._shared_state.clear()
    try:
        engine = Engine(_accelerator(chosen, precision), chosen)
        with engine.peers.watched():
            yield engine
    finally:
        for name in os.environ.keys() - variables.keys():
            if name.startswith(ADDED):
                del os.environ[name]
        for state, kept in zip(states, before, strict=True):
            state._shared_state.clear()
            state._shared_state.update(kept)


def _accelerator(device: torch.device, precision: str) -> Accelerator:
    """Accelerate's own object for a device and a precision of ours."""
    from accelerate import Accelerator
    from accelerate.utils import (
        DistributedDataParallelKwargs,
        DistributedType,
        FullyShardedDataParallelPlugin,
        GradientAccumulationPlugin,
        InitProcessGroupKwargs,
    )

    size, rank = launched_processes()
    sharding = (
        FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=False)
        if sharding_asked()
        else None
    )  # every process reads the weights, since every one resumes
    if device.type == "cpu" and offloading_asked():
        raise ConfigError(
            "The launcher asks FSDP to move weights to main memory (fsdp_offload_params), but the "
            "run is on the CPU, where they are already: leave it out of the config file."
        )
    try:
        with _mortal() if size > 1 else contextlib.nullcontext():
            accelerator = Accelerator(
                mixed_precision=PRECISIONS[precision],
                cpu=device.type == "cpu",
                device_placement=False,  # the model is where it computes
                fsdp_plugin=sharding,
                # A loss is divided by the units of the whole step, which is exact; not by batches.
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
                kwargs_handlers=[
                    DistributedDataParallelKwargs(find_unused_parameters=True),
                    *([InitProcessGroupKwargs(timeout=WAIT)] if size > 1 else []),
                ],
            )
    except (RuntimeError, ValueError) as error:
        if size == 1:
            raise ConfigError(
                f"The run cannot start ({error}): look at the launcher's settings."
            ) from error
        raise TrainingError(
            f"Process {rank} of {size} cannot join the others ({error}): start the run with "
            f"torchrun or accelerate launch, which set the addresses."
        ) from error
    if accelerator.num_processes != size:
        raise ConfigError(
            f"The variables of a launcher say that {size} processes train together, but this one "
            f"is alone: start them with torchrun or accelerate launch, or, if it is to be alone, "
            f"unset WORLD_SIZE."
        )
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # At the end of the process, for its next run: nobody may join twice by one launcher.
        atexit.unregister(_leave)
        atexit.register(_leave)
    if sharding is not None and accelerator.num_processes > 1:  # Accelerate knows it on GPUs only
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = sharding
    if precision == "fp16" and device.type == "cpu":  # likewise
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler(device.type, enabled=True)
    return accelerator


@contextlib.contextmanager
def _mortal() -> Iterator[None]:
    """Ctrl-C and SIGTERM end this process at once: while processes wait for one another, PyTorch
    hears neither, for as long as `WAIT`. Nothing was begun that they could cut off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heard = [number for number, handler in handlers.items() if callable(handler)]  # else as it is
    try:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
        yield
    finally:
        for number in heard:
            signal.signal(number, handlers[number])


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def shardable(module: M) -> M:
    """The module, whose frozen parameters of a single number are buffers now: FSDP cannot cut
    those, such as the temperature that every CLIP has.
    """
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter.dim() == 0 and not parameter.requires_grad:
                delattr(part, name)
                part.register_buffer(name, parameter.detach())
    return module


@contextlib.contextmanager
def _sharding() -> Iterator[None]:
    """Turn what FSDP says of a module that it cannot cut into one sentence."""
    try:
        yield
    except (ValueError, NotImplementedError, AttributeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ConfigError(
            f"The weights cannot be sharded as the launcher asks ({lines[0][:200]}): give "
            f"fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP and the name of the language model's "
            f"layer, or start several processes without FSDP."
        ) from error


def full_tensor(tensor: Tensor) -> Tensor:
    """All of a tensor of which each process holds a part; of others, itself."""
    whole = getattr(tensor, "full_tensor", None)
    return tensor.detach() if whole is None else cast(Tensor, whole().detach())


def like_parameter(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor as the parameter is: on its device, and sharded where it is."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is None or value.dim() == 0:
        return value.to(parameter.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    placements: Sequence[Any] = cast(DTensor, parameter).placements
    return distribute_tensor(value.to(parameter.device), mesh, placements)


def local_device(name: str) -> str:
    """The device of this process: with several processes, its own GPU for `auto` or `cuda`."""
    if "LOCAL_RANK" in os.environ and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name
