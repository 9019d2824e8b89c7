"""The service as a Ray Serve application: replicas of it over a cluster, more of them under load.

    serve run vqazoo_serve.ray:deployment models=tiny-clip-lstm-easyvqa max_replicas=4

Each replica is what `vqazoo serve` runs behind its socket: the same routes, limits, batches and
answers. Imports ray, fastapi and torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from ray import serve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqazoo.errors import ConfigError, did_you_mean
from vqazoo.zoo.models import absolute
from vqazoo_serve.app import create_app
from vqazoo_serve.intake import Intake
from vqazoo_serve.logs import log_to_stderr
from vqazoo_serve.metrics import Metrics
from vqazoo_serve.settings import MIB, Settings, read_token

DRAINING = 10.0  # seconds beyond a request's own, when a replica ends
HEADER = b"x-replica"


@dataclass(frozen=True, kw_only=True)
class RayService:
    """What each replica serves, and how many there are.

    Attributes:
        models: references as `vqazoo.load` takes them, which every node can reach; the first one is
            the default.
        device: of each replica; cpus, gpus: that Ray keeps for it.
        min_replicas, max_replicas: bounds of their number.
        target_ongoing_requests: of each replica; with more there will be more replicas.
        token_file: as of `vqazoo serve`, on every node; empty: the environment of the replica says.
        limits: `Settings` of each replica, but the token.
    """

    models: tuple[str, ...]
    device: str = "cpu"
    cpus: float = 1.0
    gpus: float = 0.0
    min_replicas: int = 1
    max_replicas: int = 2
    target_ongoing_requests: float = 8.0
    token_file: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ConfigError: there is no model, or the bounds are none."""
        if not self.models:
            raise ConfigError("No model is named: give one or more, as  models=NAME,NAME .")
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise ConfigError(
                f"There are to be {self.min_replicas} to {self.max_replicas} replicas, but a "
                f"number from 1 on and one that is not below it were expected: change min_replicas "
                f"or max_replicas."
            )
        if self.target_ongoing_requests <= 0:
            raise ConfigError(
                f"target_ongoing_requests is {self.target_ongoing_requests:g}, but a number above "
                f"0 was expected."
            )

    @property
    def settings(self) -> Settings:
        """Those of a replica on this machine; reads the token.

        Raises:
            ConfigError: the token cannot be read.
        """
        token = read_token(Path(self.token_file).expanduser() if self.token_file else None)
        return Settings(token=token, **self.limits)


def deployment(arguments: Mapping[str, Any]) -> serve.Application:
    """The application that `serve run vqazoo_serve.ray:deployment KEY=VALUE ...` builds.

    Args:
        arguments: `models` (a list, or text with commas), the other fields of `RayService`, and
            limits by the names of the options of `vqazoo serve`, such as `max_body_mib`.

    Raises:
        ConfigError: an argument is not known, or its value is none that it takes.
    """
    service = read_arguments(arguments)

    def build() -> FastAPI:
        return replica_app(service)

    replica = serve.deployment(serve.ingress(build)(Replica), name="vqazoo", **scaling(service))
    return replica.bind()


def scaling(service: RayService) -> dict[str, Any]:
    """What Ray Serve is told: how many replicas, what each takes of a node and of requests."""
    limits = Settings(**service.limits)
    return {
        "ray_actor_options": {"num_cpus": service.cpus, "num_gpus": service.gpus},
        "autoscaling_config": {
            "min_replicas": service.min_replicas,
            "max_replicas": service.max_replicas,
            "target_ongoing_requests": service.target_ongoing_requests,
        },
        "max_ongoing_requests": limits.queue,
        "max_queued_requests": limits.queue,
        "graceful_shutdown_timeout_s": limits.timeout + DRAINING,
    }


class Replica:
    """One process that answers; Ray replaces it when its check fails."""

    app: Any  # set by ray.serve.ingress

    def check_health(self) -> None:
        """Raises RuntimeError: the thread that answers has ended."""
        if not self.app.state.answering.batcher.alive:
            raise RuntimeError("The thread that answers has ended.")


def replica_app(service: RayService) -> FastAPI:
    """The web application of this replica; its models are loaded here."""
    import vqazoo

    log_to_stderr()
    settings = service.settings
    name = str(serve.get_replica_context().replica_id.unique_id)
    models = {model: vqazoo.load(model, device=service.device) for model in service.models}
    app = create_app(models, settings, Intake(settings, ReplicaMetrics(name)))
    app.add_middleware(Named, replica=name)
    return app


class Named:
    """ASGI middleware: every response says which replica gave it."""

    def __init__(self, app: ASGIApp, replica: str) -> None:
        self._app, self._header = app, (HEADER, replica.encode("ascii"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), self._header]
            await send(message)

        await self._app(scope, receive, send_named if scope["type"] == "http" else send)


class ReplicaMetrics(Metrics):
    """The counters of one replica: every sample carries the label `replica`."""

    def __init__(self, replica: str) -> None:
        super().__init__()
        self._replica = replica

    def text(self) -> bytes:
        labelled = CollectorRegistry()
        labelled.register(_Labelled(self.registry, self._replica))
        return generate_latest(labelled)


class _Labelled:
    """Gives what a registry holds, with one label more."""

    def __init__(self, registry: CollectorRegistry, replica: str) -> None:
        self._registry, self._replica = registry, replica

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "replica": self._replica})
                for sample in metric.samples
            ]
            yield metric


# ---- arguments ------------------------------------------------------------------------------


def _references(value: Any) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else value
    return tuple(absolute(text.strip()) for text in listed if text.strip())


def _truth(value: Any) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]


def _mib(value: Any) -> int:
    return MIB * int(str(value))


def _whole(value: Any) -> int:
    return int(str(value))


def _number(value: Any) -> float:
    return float(str(value))


READERS: dict[str, Callable[[Any], Any]] = {
    "models": _references,
    "device": str,
    "cpus": _number,
    "gpus": _number,
    "min_replicas": _whole,
    "max_replicas": _whole,
    "target_ongoing_requests": _number,
    "token_file": lambda value: os.fspath(value),
}
LIMITS: dict[str, tuple[str, Callable[[Any], Any]]] = {  # option: field of Settings
    "allow_urls": ("allow_urls", _truth),
    "max_batch": ("max_batch", _whole),
    "max_wait_ms": ("max_wait_ms", _number),
    "queue": ("queue", _whole),
    "max_body_mib": ("max_body", _mib),
    "max_pixels": ("max_pixels", _whole),
    "max_questions": ("max_questions", _whole),
    "max_question_length": ("max_question_length", _whole),
    "timeout": ("timeout", _number),
    "cache_mib": ("cache_bytes", _mib),
    "quality": ("quality", absolute),
}


def read_arguments(arguments: Mapping[str, Any]) -> RayService:
    """What Ray passes on from its command line or its config file, where all may be text.

    Raises:
        ConfigError: see `deployment`.
    """
    given: dict[str, Any] = {"models": ()}
    limits: dict[str, Any] = {}
    for name, value in arguments.items():
        place, read = LIMITS.get(name, (name, READERS.get(name)))
        if read is None:
            known = [*READERS, *LIMITS]
            raise ConfigError(
                f"Unknown argument {name!r} of vqazoo_serve.ray:deployment."
                f"{did_you_mean(name, known)} It must be one of {', '.join(known)}."
            )
        try:
            read_value = read(value)
            if isinstance(read_value, (int, float)) and read_value < 0:
                raise ValueError("a number from 0 on")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"The argument {name} of vqazoo_serve.ray:deployment is {value!r}, which it cannot "
                f"be: see 'vqazoo serve --help' and the page on Ray for what it takes."
            ) from error
        (limits if name in LIMITS else given)[place] = read_value
    if quality := limits.get("quality"):
        given["models"] = tuple(dict.fromkeys((*given.get("models", ()), quality)))
    return RayService(**given, limits=limits)
