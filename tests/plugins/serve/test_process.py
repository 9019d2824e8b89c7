"""`vqazoo serve` as a process: its start, its log, and how it ends."""

from __future__ import annotations

import base64
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.plugins.serve.conftest import CLASSIFIER
from tests.plugins.serve.service import command, metric
from vqazoo.catalogue import catalogue
from vqazoo.cli import run
from vqazoo.errors import ConfigError
from vqazoo_serve.settings import TOKEN_VARIABLE, named_models, read_token

TOKEN = "a-token-that-nobody-guesses"
QUESTION = "what colour has the marvellous zebra?"


def header_lines(request: httpx.Request) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=60)


def can_connect(client: httpx.Client) -> bool:
    try:
        connected(client).close()
    except OSError:
        return False
    return True


def test_sigterm_lets_it_finish_what_it_took_and_the_log_tells_no_tales(tmp_path, pictures):
    """Seven requests wait for an eighth, which has not arrived whole when the signal does."""
    log = tmp_path / "log"
    options = ["--max-wait-ms", "100000", "--max-batch", "8", "--timeout", "200"]
    with command(log, CLASSIFIER, *options, **{TOKEN_VARIABLE: TOKEN}) as (client, process):
        client.headers["Authorization"] = f"Bearer {TOKEN}"

        def ask(place: int) -> httpx.Response:
            files = {"image": ("holiday.png", pictures[place % len(pictures)])}
            return client.post("/answer", data={"question": f"{QUESTION} {place}"}, files=files)

        eighth = client.build_request(
            "POST",
            "/answer",
            json={
                "image": base64.b64encode(pictures[7]).decode(),
                "question": QUESTION,
            },
        )
        head = f"POST /answer HTTP/1.1\r\n{header_lines(eighth)}\r\n".encode()
        with ThreadPoolExecutor(7) as pool, connected(client) as connection:
            connection.sendall(head + eighth.content[:10])
            asked = [pool.submit(ask, place) for place in range(7)]
            while metric(client, "vqazoo_requests_in_flight") < 8:
                time.sleep(0.02)
            process.terminate()
            while can_connect(client):
                time.sleep(0.02)
            assert not any(one.done() for one in asked)
            connection.sendall(eighth.content[10:])
            replies = [one.result() for one in asked]
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert process.wait(timeout=60) == 0
        with pytest.raises(httpx.TransportError):
            client.get("/health")
    assert [reply.status_code for reply in replies] == [200] * 7
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request" and line["path"] == "/answer"]
    assert len(requests) == 8
    assert {line["id"] for line in requests} > {one.headers["X-Request-ID"] for one in replies}
    for line in requests:
        assert line["status"] == 200
        assert line["ms"] > 0
        assert (line["images"], line["questions"]) == (1, 1)
        assert line["bytes"] > 100
    told = {value for line in requests for value in line.values()}
    assert not told & {reply.json()["answers"][0]["text"] for reply in replies}
    for secret in ("zebra", "holiday", TOKEN, "127.0.0.1", "Traceback"):
        assert secret not in log.read_text()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.proof)])
def test_a_model_has_the_public_name_that_it_is_given(tmp_path, pictures, workers):
    folder = str(catalogue() / CLASSIFIER)
    options = ["--name", "shapes", "--workers", str(workers)]
    with command(tmp_path / "log", f"dir:{folder}", *options) as (client, _):
        reply = client.post(
            "/answer",
            data={"question": QUESTION, "model": "shapes"},
            files={"image": ("a.png", pictures[0])},
        )
        assert reply.json()["model"] == "shapes"
        assert [model["name"] for model in client.get("/models").json()["models"]] == ["shapes"]
        page = client.get("/docs").text
        assert f"http://127.0.0.1:{client.base_url.port}/answer" in page
        assert ":8000" not in page
        assert folder not in page


@pytest.mark.parametrize(
    ("names", "quality", "problem"),
    [
        (["a"], "", r"2 models and 1 of --name \(a\): give it once for each"),
        (["a", "a"], "", "'a' is empty, given twice"),
        (["a", " "], "", "' ' is empty"),
        (["a", "b\n"], "", "not printable"),
        (["a", "judge"], "judge", "'judge' is empty, given twice"),
    ],
)
def test_names_that_do_not_fit_the_models_are_refused(names, quality, problem):
    with pytest.raises(ConfigError, match=problem):
        named_models(["dir:x", "dir:y"], names, quality)


def test_a_judge_of_pictures_is_served_by_its_name_too():
    assert named_models(["m"], [], "judge") == {"m": "m", "judge": "judge"}
    assert named_models(["m", "judge"], ["a", "b"], "judge") == {"a": "m", "b": "judge"}
    assert named_models(["m", "m"], ["a"]) == {"a": "m"}


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["serve", "no-such-model", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"Error: The address 127.0.0.1:{port} cannot be served (")
    assert "--port" in error


def test_an_unknown_model_is_one_sentence(capsys):
    assert run(["serve", "tiny-clip-lstm-easyvqq", "--port", "0"]) == 1
    assert "Did you mean 'tiny-clip-lstm-easyvqa'" in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install(capsys, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "fastapi" else found(name)
    )
    import vqazoo_serve.command

    monkeypatch.setattr(vqazoo_serve.command, "find_spec", importlib.util.find_spec)
    assert run(["serve", CLASSIFIER]) == 1
    assert "pip install 'vqazoo[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "short", "with blanks " * 3, "ümlaut" * 5])
def test_a_token_that_is_none_is_refused(tmp_path, capsys, content):
    file = tmp_path / "token"
    file.write_text(content)
    assert run(["serve", CLASSIFIER, "--token-file", str(file)]) == 1
    assert "holds no token of 16 or more ASCII characters" in capsys.readouterr().err
    assert run(["serve", CLASSIFIER, "--token-file", str(tmp_path / "absent")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_token_file_goes_before_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "b-token-that-nobody-guesses")
    assert read_token(None) == "b-token-that-nobody-guesses"
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file) == TOKEN
    monkeypatch.delenv(TOKEN_VARIABLE)
    assert read_token(None) == ""
