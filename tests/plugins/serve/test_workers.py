"""`vqazoo serve --workers 2`: two processes behind one port, and what one's death costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import vqazoo
from tests.plugins.serve.conftest import CLASSIFIER
from tests.plugins.serve.decisions import shown
from tests.plugins.serve.service import WAIT, command, metric
from tests.plugins.serve.test_process import can_connect
from vqazoo.cli import run
from vqazoo_serve.roster import Roster

QUESTION = "what shape is it?"
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows shares no socket")
pytestmark = UNIX


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def ask(client: httpx.Client, picture: bytes) -> httpx.Response:
    """Over a connection of its own, so that either worker may get it."""
    with httpx.Client(base_url=client.base_url, timeout=WAIT) as own:
        return own.post("/answer", data={"question": QUESTION}, files={"image": picture})


def live(client: httpx.Client) -> int:
    return client.get("/health").json()["live"]


def lines(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def pids(log: Path) -> dict[int, int]:
    """Process ids by worker, the newest, as the log has them."""
    started = re.compile(r"Started server process \[(\d+)\]")
    said = [(line, started.match(line["event"])) for line in lines(log) if "worker" in line]
    return {line["worker"]: int(match[1]) for line, match in said if match}


def answered(client: httpx.Client) -> float:
    return metric(client, 'vqazoo_requests_total{path="/answer",status="200"}')


@pytest.mark.proof
def test_a_worker_that_is_killed_costs_its_own_requests_only_and_another_takes_its_place(
    tmp_path, models, pictures
):
    log, temporary = tmp_path / "log", tmp_path / "temporary"
    temporary.mkdir()
    options = ["--workers", "2", "--max-wait-ms", "1"]
    with command(log, CLASSIFIER, *options, TMPDIR=str(temporary)) as (client, process):
        until(lambda: live(client) == 2)
        assert client.get("/health").json() == {"status": "ok", "workers": 2, "live": 2}
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda n: ask(client, pictures[n % 8]), range(80)))
        own = [reply.json()["answers"][0]["text"] for reply in replies]
        expected = [models[CLASSIFIER].answer(_opened(p), QUESTION).text for p in pictures]
        assert own == expected * 10
        red = {"type": "predicate", "instructions": "is there a red shape?"}
        body = {"model": CLASSIFIER, "input": shown(pictures[0]), "questions": [red]}
        (decided,) = client.post("/v1/decisions", json=body).json()["answers"]
        own_decision = models[CLASSIFIER].predicate(_opened(pictures[0]), red["instructions"])
        assert decided["probability"] == pytest.approx(own_decision.probability, abs=1e-5)
        until(lambda: answered(client) == 80)  # merged, whoever is asked
        for _ in range(6):
            with httpx.Client(base_url=client.base_url, timeout=WAIT) as another:
                assert answered(another) == 80
        shares = [metric(client, f'vqazoo_worker_requests_total{{worker="{n}"}}') for n in (1, 2)]
        assert min(shares) >= 8
        by_log = [line["worker"] for line in lines(log) if line.get("path") == "/answer"]
        assert set(by_log) == {1, 2}
        assert len(by_log) == 80

        before = pids(log)
        os.kill(before[1], signal.SIGKILL)
        with ThreadPoolExecutor(4) as pool:  # the other answers all that comes now
            replies = list(pool.map(lambda n: ask(client, pictures[n % 8]), range(40)))
        assert {reply.status_code for reply in replies} == {200}
        until(lambda: live(client) == 2)
        after = pids(log)
        assert after[2] == before[2]
        assert after[1] != before[1]
        until(lambda: answered(client) == 120)  # those of the dead one still count
        (told,) = [line for line in lines(log) if line["event"].startswith("A worker ended")]
        assert (told["worker"], told["exit"]) == (1, -signal.SIGKILL)
        assert len(list(temporary.glob("vqazoo-serve-*"))) == 1

        process.terminate()
        assert process.wait(timeout=WAIT) == 0
        assert not list(temporary.glob("vqazoo-serve-*"))
        assert not can_connect(client)
    assert "Traceback" not in log.read_text()


@pytest.mark.proof
def test_a_folder_that_is_replaced_meanwhile_never_gives_answers_of_two_models(
    tmp_path, models, pictures
):
    log, folder = tmp_path / "log", tmp_path / "model"
    models[CLASSIFIER].save(folder)
    expected = [models[CLASSIFIER].answer(_opened(p), QUESTION).text for p in pictures]
    with command(log, f"dir:{folder}", "--workers", "2") as (client, _):
        until(lambda: live(client) == 2)
        vqazoo.load("tiny-clip-linear-flawedshapes").save(folder)
        os.kill(pids(log)[1], signal.SIGKILL)
        until(lambda: "is another model than the one" in log.read_text())
        replies = [ask(client, picture) for picture in pictures]
        assert [reply.json()["answers"][0]["text"] for reply in replies] == expected
        assert client.get("/health").json()["status"] == "degraded"
        models[CLASSIFIER].save(folder)
        until(lambda: live(client) == 2)


@pytest.mark.proof
def test_both_workers_answer_what_they_took_after_ctrl_c_and_a_second_one_refuses(
    tmp_path, pictures
):
    """Requests wait for a batch that never fills, so that both signals find them waiting."""
    log = tmp_path / "log"
    slow = ["--workers", "2", "--max-wait-ms", "3000"]
    with command(log, CLASSIFIER, *slow) as (client, process), ThreadPoolExecutor(6) as pool:
        until(lambda: live(client) == 2)
        asked = [pool.submit(ask, client, pictures[n]) for n in range(6)]
        until(lambda: metric(client, "vqazoo_requests_in_flight") == 6)
        process.send_signal(signal.SIGINT)
        until(lambda: not can_connect(client))
        assert [future.result().status_code for future in asked] == [200] * 6
        assert process.wait(timeout=WAIT) == 0

    slow = ["--workers", "2", "--max-wait-ms", "100000", "--timeout", "200"]
    with command(log, CLASSIFIER, *slow) as (client, process), ThreadPoolExecutor(6) as pool:
        until(lambda: live(client) == 2)
        asked = [pool.submit(ask, client, pictures[n]) for n in range(6)]
        until(lambda: metric(client, "vqazoo_requests_in_flight") == 6)
        workers = pids(log)
        process.send_signal(signal.SIGINT)
        until(lambda: not can_connect(client))
        process.send_signal(signal.SIGINT)
        assert [future.result().status_code for future in asked] == [503] * 6
        for pid in workers.values():  # their passes would wait 100 seconds
            os.kill(pid, signal.SIGINT)
        assert process.wait(timeout=WAIT) == 130


@pytest.mark.proof
def test_workers_end_with_their_supervisor_and_leave_no_folder(tmp_path):
    log, temporary = tmp_path / "log", tmp_path / "temporary"
    temporary.mkdir()
    with command(log, CLASSIFIER, "--workers", "2", TMPDIR=str(temporary)) as (client, process):
        until(lambda: live(client) == 2)
        process.kill()
        until(lambda: not can_connect(client))
        until(lambda: not list(temporary.glob("vqazoo-serve-*")))


def _serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "import sys; from vqazoo.cli import main; main(sys.argv[1:])"]
    return subprocess.run(
        [*start, "serve", "--workers", "2", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.proof
def test_a_damaged_model_is_one_sentence_once(tmp_path):
    damaged = tmp_path / "model"
    damaged.mkdir()
    (damaged / "config.json").write_text("{}")
    done = _serve(f"dir:{damaged}", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("vqazoo-serve-*"))


def test_an_unknown_model_is_one_sentence_of_the_first_worker(capsys):
    assert run(["serve", "tiny-clip-lstm-easyvqq", "--workers", "3", "--port", "0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert error.count("Did you mean 'tiny-clip-lstm-easyvqa'") == 1


def test_a_system_that_shares_no_socket_is_told_so(capsys, monkeypatch):
    monkeypatch.setattr("vqazoo_serve.supervisor.sys.platform", "win32")
    assert run(["serve", CLASSIFIER, "--workers", "2", "--port", "0"]) == 1
    assert "which Windows does not" in capsys.readouterr().err


def test_a_roster_tells_who_serves_and_nobody_where_it_is_gone(tmp_path):
    roster = Roster(tmp_path, 2)
    assert roster.live() == []
    roster.write([11, 12])
    assert Roster(tmp_path, 2).live() == [11, 12]


def _opened(content: bytes):
    import io

    from PIL import Image

    return Image.open(io.BytesIO(content))
