"""The service on Ray Serve: its arguments, and two replicas of it on a cluster of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vqazoo
from tests.plugins.serve.conftest import CLASSIFIER
from vqazoo.errors import ConfigError

pytest.importorskip("ray.serve")

from vqazoo_serve.ray import ReplicaMetrics, deployment, read_arguments, scaling

TOKEN = "a-token-of-enough-characters"


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


# Serves with two replicas, asks, and prints what it saw.
SERVICE = """
import json, os, re, socket, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import httpx
from vqazoo.cluster import joined
model, token_file, report, *pictures = sys.argv[1:]
token = Path(token_file).read_text().strip()
with joined("this test", 2, "cpu") as cluster:
    from ray import serve
    from vqazoo_serve.ray import deployment
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(deployment({"models": model, "min_replicas": 2, "max_replicas": 2,
                          "token_file": token_file, "cpus": 0.5}))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60,
                      headers={"Authorization": f"Bearer {token}"}) as client:
        def ask(number):
            picture = Path(pictures[number % len(pictures)]).read_bytes()
            asked = {"question": "what is it?"}
            return client.post("/answer", files={"image": picture}, data=asked)
        with ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(ask, range(64)))
        counted = {}
        for _ in range(200):
            text = client.get("/metrics").text
            for replica, number in re.findall(
                r'vqazoo_requests_total{path="/answer",replica="(\\w+)",status="200"} (\\d+)', text
            ):
                counted[replica] = int(number)
            if len(counted) == 2:
                break
        Path(report).write_text(json.dumps({
            "answers": [r.json()["answers"][0] for r in replies],
            "replicas": [r.headers["x-replica"] for r in replies],
            "counted": counted,
            "health": client.get("/health").status_code,
            "stranger": httpx.get(f"http://127.0.0.1:{port}/models").status_code,
        }))
    serve.shutdown()
"""


@pytest.mark.proof
def test_two_replicas_answer_as_the_model_does(pictures: list[bytes], tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(len(pictures))]
    for file, content in zip(files, pictures, strict=True):
        file.write_bytes(content)
    (tmp_path / "token").write_text(TOKEN)
    given = (tmp_path / "token", tmp_path / "seen.json", *files)
    done = subprocess.run(
        [sys.executable, "-c", SERVICE, CLASSIFIER, *map(str, given)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(given[1].read_text())
    expected = vqazoo.load(CLASSIFIER).answer(files, ["what is it?"] * len(files))
    assert len(seen["answers"]) == 64
    for number, answer in enumerate(seen["answers"]):
        own = expected[number % len(files)]
        assert answer["text"] == own.text
        assert answer["score"] == pytest.approx(own.score, abs=1e-5)
    assert len(set(seen["replicas"])) == 2  # both answered
    assert seen["counted"] == {name: seen["replicas"].count(name) for name in seen["replicas"]}
    assert seen["health"] == 200
    assert seen["stranger"] == 401
