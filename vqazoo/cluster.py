"""Work spread over a Ray cluster, or over processes of this machine. Imports `ray` when used.

An actor holds what is slow to build (a model, an encoder) and does one task after another. Tasks
and what is made of them are small: large things are read and written where the actor is, so little
passes through the object store. A task whose actor is lost is done again by a new one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vqazoo.errors import ClusterError, VqazooError, missing_package
from vqazoo.progress import Report

T = TypeVar("T")
R = TypeVar("R")

ADDRESS = "RAY_ADDRESS"
AUTH, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
CPUS_EACH = 4  # of an actor, where nobody says how many actors there are
OBJECT_STORE = 2**28  # bytes, of a cluster that is started here: tasks and results are small
QUEUED = 2  # tasks that an actor has at once, so that it never waits for the next
PATIENCE = 10.0  # seconds until a cluster must be heard
ATTEMPTS = 3  # of a task whose actors are lost
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        workers: how many actors work.
        device: what each of them computes on, `cpu` or `cuda`.
        cpus, gpus: that each of them is given.
    """

    ray: Any
    workers: int
    device: str
    cpus: int
    gpus: int

    def spread(
        self, make: Callable[[], Callable[[T], R]], tasks: Iterator[T]
    ) -> Iterator[tuple[T, R]]:
        """Each task with what was made of it, in the order in which they are done.

        Tasks are taken as they are needed: no more than `QUEUED` an actor are under way.

        Args:
            make: called once in each actor; gives what does a task there. It, tasks and results
                are pickled; files are named by absolute paths.

        Raises:
            ClusterError: a task lost `ATTEMPTS` actors. What a task itself raises.
        """
        yield from _Spread(self, make).run(tasks)


@contextlib.contextmanager
def ray_cluster(
    what: str, workers: int = 0, device: str = "", report: Report = lambda line: None
) -> Iterator[Cluster]:
    """Join the cluster at `RAY_ADDRESS`, or start one of this machine alone.

    It is left, or stopped, at the end of the block; one that this process joined before stays.
    Nothing is sent to Ray's makers; one that is
    started here has no dashboard, and a token that only its own processes know, since Ray listens
    on every network of a machine and runs what it is sent.

    Args:
        what: is to be done, for messages, such as `--engine ray`.
        workers: how many actors; 0: one a GPU, else one for each `CPUS_EACH` cores.
        device: `cpu`, `cuda`; empty: `cuda` if the cluster has GPUs.
        report: learns if the cluster has no room for all of them now.

    Raises:
        WeightsError: Ray is not installed. ClusterError: there is no cluster at the address.
    """
    address = os.environ.get(ADDRESS, "")
    known = address or AUTH in os.environ or "ray" in sys.modules  # Ray reads it once
    guard = {} if known else {AUTH: "token", TOKEN: secrets.token_hex(32)}
    for name, value in {**QUIET, **guard}.items():
        os.environ.setdefault(name, value)
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise missing_package(what, "ray", "ray") from error
    if ray.is_initialized():
        yield _shared_out(ray, workers, device, report)
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options |= {
            "num_cpus": max(workers, _cores()),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
    try:
        _check_heard(address)
        ray.init(address=address or "local", **options)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"at {ADDRESS} '{address}'" if address else "on this machine"
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(
            f"Ray cannot be joined or started {where} ({reason}): check that  ray "
            f"status  works, or unset {ADDRESS} to use this machine alone."
        ) from error
    try:
        yield _shared_out(ray, workers, device, report)
    finally:
        ray.shutdown()


def _shared_out(ray: Any, workers: int, device: str, report: Report) -> Cluster:
    """Which part of the cluster each actor gets."""
    there = ray.cluster_resources()
    cores, cards = int(there.get("CPU", 1)), int(there.get("GPU", 0))
    kind = device.partition(":")[0] or ("cuda" if cards else "cpu")
    cards = cards if kind == "cuda" else 0
    workers = workers or cards or max(1, cores // CPUS_EACH)
    cluster = Cluster(ray, workers, kind, max(1, cores // workers), 1 if kind == "cuda" else 0)
    room = min(cores // cluster.cpus, cards if cluster.gpus else cores)
    if room < workers:
        report(
            f"The Ray cluster has room for {room} of {workers} workers now: the others start when "
            f"it grows."
        )
    return cluster


def _check_heard(address: str) -> None:
    """Raise OSError at once where nobody listens, which Ray tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isascii() and port.isdigit():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Actor(Generic[T, R]):
    """What runs on a node: built at its first task, so that an error in that is told as it is.

    It works in the folder of the process that started it, if the node has that: actors of a cluster
    that was started elsewhere begin in another one, where relative paths lead to nothing.
    """

    def __init__(self, make: Callable[[], Callable[[T], R]], folder: str) -> None:
        with contextlib.suppress(OSError):  # absolute paths are found all the same
            os.chdir(folder)
        self._make = make
        self._work: Callable[[T], R] | None = None

    def do(self, task: T) -> R:
        """What is made of a task."""
        if self._work is None:
            self._work = self._make()
        return self._work(task)


@dataclass
class _Sent(Generic[T]):
    """A task under way, and how often it was begun."""

    actor: Any
    task: T
    attempts: int


class _Spread(Generic[T, R]):
    """Tasks under way on the actors of a cluster."""

    def __init__(self, cluster: Cluster, make: Callable[[], Callable[[T], R]]) -> None:
        self._ray, self._make = cluster.ray, make
        self._options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_restarts": 0}
        self._class = self._ray.remote(Actor)
        self._actors = [self._new() for _ in range(cluster.workers)]
        self._sent: dict[Any, _Sent[T]] = {}  # by reference to its result

    def _new(self) -> Any:
        return self._class.options(**self._options).remote(self._make, os.getcwd())

    def run(self, tasks: Iterator[T]) -> Iterator[tuple[T, R]]:
        """As `Cluster.spread`."""
        try:
            more = True
            while more or self._sent:
                while more and len(self._sent) < QUEUED * len(self._actors):
                    try:
                        task = next(tasks)
                    except StopIteration:
                        more = False
                        break
                    self._send(_Sent(self._least_busy(), task, 1))
                if self._sent:
                    done, _ = self._ray.wait(list(self._sent), num_returns=1)
                    yield from self._received(done[0])
        finally:
            for actor in self._actors:
                self._ray.kill(actor)

    def _least_busy(self) -> Any:
        busy = [sent.actor for sent in self._sent.values()]
        return min(self._actors, key=busy.count)

    def _send(self, sent: _Sent[T]) -> None:
        self._sent[sent.actor.do.remote(sent.task)] = sent

    def _received(self, reference: Any) -> Iterator[tuple[T, R]]:
        sent = self._sent.pop(reference)
        exceptions = self._ray.exceptions
        try:
            result = self._ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, VqazooError):
                raise error.cause from None
            raise
        except exceptions.RayError as error:  # the actor or its node is gone
            if sent.attempts >= ATTEMPTS:
                reason = " ".join(str(error).split())[:200]
                raise ClusterError(
                    f"{ATTEMPTS} workers were lost one after the other over one piece of work "
                    f"({reason}): give each more memory with fewer --workers, and run again; what "
                    f"was done is kept."
                ) from error
            if sent.actor in self._actors:
                self._actors[self._actors.index(sent.actor)] = self._new()
            self._send(_Sent(self._least_busy(), sent.task, sent.attempts + 1))
            return
        yield sent.task, result
