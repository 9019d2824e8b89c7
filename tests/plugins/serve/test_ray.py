"""The service on Ray Serve: its arguments, and two replicas of it on a cluster of this machine."""

from __future__ import annotations

import io
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import vqazoo
from tests.docs.pages import blocks
from tests.plugins.serve.conftest import CLASSIFIER
from tests.plugins.serve.decisions import shown
from vqazoo.errors import ConfigError

pytest.importorskip("ray.serve")

from vqazoo_serve.ray import ReplicaMetrics, deployment, read_arguments, scaling

MOST_REQUESTS = 1280
PAGE = "docs/how-to/serve-with-ray.md"
TOKEN = "a-token-of-enough-characters"
COUNTED = re.compile(r'vqazoo_requests_total\{path="/answer",replica="(\w+)",status="200"\} (\d+)')


def test_arguments_may_all_be_text() -> None:
    service = read_arguments(
        {
            "models": f"{CLASSIFIER}, dir:mine",
            "min_replicas": "2",
            "max_replicas": "4",
            "target_ongoing_requests": "2.5",
            "max_body_mib": "1",
            "allow_urls": "true",
            "timeout": "5",
        }
    )
    assert service.models == (CLASSIFIER, f"dir:{Path.cwd() / 'mine'}")
    assert (service.min_replicas, service.max_replicas) == (2, 4)
    assert service.target_ongoing_requests == 2.5
    assert service.settings.max_body == 1 << 20
    assert service.settings.allow_urls is True
    assert service.settings.timeout == 5
    assert service == read_arguments(
        {
            "models": [CLASSIFIER, "dir:mine"],
            "min_replicas": 2,
            "max_replicas": 4,
            "target_ongoing_requests": 2.5,
            "max_body_mib": 1,
            "allow_urls": True,
            "timeout": 5,
        }
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "No model is named"),
        ({"model": "a"}, "Unknown argument 'model' of .* Did you mean 'models'"),
        ({"models": "a", "max_replicas": "many"}, "max_replicas of .* is 'many', which it cannot"),
        ({"models": "a", "timeout": "-1"}, "timeout of .* is '-1'"),
        ({"models": "a", "allow_urls": "perhaps"}, "allow_urls of .* is 'perhaps'"),
        ({"models": 3}, "models of .* is 3"),
        ({"models": "a", "min_replicas": 3}, "3 to 2 replicas"),
        ({"models": "a", "min_replicas": 0}, "0 to 2 replicas"),
        ({"models": "a", "target_ongoing_requests": 0}, "target_ongoing_requests is 0"),
    ],
)
def test_what_is_no_argument_is_refused_in_a_sentence(arguments: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        deployment(arguments)
    assert "\n" not in str(caught.value)


def test_ray_is_told_how_many_replicas_there_may_be_and_what_each_takes() -> None:
    asked = {"models": "a", "max_replicas": 5, "target_ongoing_requests": 3, "gpus": 0.5}
    told = scaling(read_arguments({**asked, "queue": 16, "timeout": 20}))
    assert told["autoscaling_config"] == {
        "min_replicas": 1,
        "max_replicas": 5,
        "target_ongoing_requests": 3,
    }
    assert told["ray_actor_options"] == {"num_cpus": 1, "num_gpus": 0.5}
    assert told["max_ongoing_requests"] == told["max_queued_requests"] == 16
    assert told["graceful_shutdown_timeout_s"] == 30


def test_every_sample_says_whose_it_is() -> None:
    metrics = ReplicaMetrics("abc")
    metrics.requests.labels("/answer", "200").inc()
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    assert 'vqazoo_requests_total{path="/answer",replica="abc",status="200"} 1.0' in lines
    assert all('replica="abc"' in line for line in lines)


@contextmanager
def serve_run(file: Path, log: Path, port: int) -> Iterator[httpx.Client]:
    """A client of `serve run FILE` in a process group of its own."""
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "local",  # not a cluster of another test on this machine
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "VQAZOO_SERVE_TOKEN": TOKEN,
    }
    start = [sys.executable, "-c", "from ray.serve.scripts import cli; cli()", "run", str(file)]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        open(log, "w") as said,
        subprocess.Popen(start, env=environment, stdout=said, stderr=said) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers) as client,
    ):
        try:
            until = time.monotonic() + 240
            while process.poll() is None and time.monotonic() < until:
                with suppress(httpx.TransportError):
                    if client.get("/health").status_code == 200:
                        break
                time.sleep(0.2)
            else:
                raise AssertionError(log.read_text())
            yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.mark.apart
def test_two_replicas_answer_as_the_model_does(pictures: list[bytes], tmp_path: Path) -> None:
    """The service of the page, by its own file."""
    (block,) = (b for b in blocks(PAGE, "text") if b.content.startswith("# service.yaml"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "service.yaml").write_text(block.content.replace("port: 8000", f"port: {port}"))
    with serve_run(tmp_path / "service.yaml", tmp_path / "log", port) as client:

        def ask(number: int) -> httpx.Response:
            picture = {"image": pictures[number % len(pictures)]}
            return client.post("/answer", files=picture, data={"question": "what is it?"})

        replies: list[httpx.Response] = []
        with ThreadPoolExecutor(8) as threads:
            while len(replies) < MOST_REQUESTS:  # a replica may take long to start
                replies += threads.map(ask, range(len(replies), len(replies) + 64))
                if len({reply.headers["x-replica"] for reply in replies}) == 2:
                    break
        counted: dict[str, int] = {}
        for _ in range(200):  # whoever answers tells of itself
            counts = client.get("/metrics").text
            for replica, number in COUNTED.findall(counts):
                counted[replica] = int(number)
            if len(counted) == 2:
                break
        red = {"type": "predicate", "instructions": "is there a red shape?"}
        decided = client.post(
            "/v1/decisions",
            json={"model": CLASSIFIER, "input": shown(pictures[0]), "questions": [red]},
        )
        stranger = client.get("/models", headers={"Authorization": "Bearer no"}).status_code
    expected = vqazoo.load(CLASSIFIER).answer(
        [Image.open(io.BytesIO(content)) for content in pictures], ["what is it?"] * len(pictures)
    )
    for number, reply in enumerate(replies):
        own = expected[number % len(pictures)]
        (answer,) = reply.json()["answers"]
        assert answer["text"] == own.text
        assert answer["score"] == pytest.approx(own.score, abs=1e-5)
    seen = [reply.headers["x-replica"] for reply in replies]
    assert len(set(seen)) == 2  # both answered
    assert counted == {name: seen.count(name) for name in seen}
    assert stranger == 401
    own_decision = vqazoo.load(CLASSIFIER).predicate(
        Image.open(io.BytesIO(pictures[0])), red["instructions"]
    )
    assert decided.status_code == 200, decided.text
    assert decided.json()["answers"][0]["probability"] == pytest.approx(
        own_decision.probability, abs=1e-5
    )
