"""What visitors cannot make the demo do: read other files, fetch addresses, fill the disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_socket
from PIL import Image

from tests.plugins.demo.conftest import LOOPBACK, Demo

pytest.importorskip("gradio", reason="the page is made with Gradio")
ONLY_UPLOADED = "Only pictures that were uploaded to this demo can be used."
BOUNDARY = "vqazoo-boundary"


@pytest.fixture(scope="module")
def page(start: Callable[..., Demo]) -> Iterator[Demo]:
    running = start()
    yield running
    running.stop(signal.SIGTERM)


@pytest.fixture(autouse=True)
def loopback() -> None:
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)


def ask(
    url: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of an answer."""
    request = urllib.request.Request(url + path, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def upload(url: str, file: Path, **headers: str) -> tuple[int, bytes]:
    content = (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; '
            f'filename="{file.name}"\r\n\r\n'
        ).encode()
        + file.read_bytes()
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return ask(url, "/gradio_api/upload", content, kind | headers)


def asking_function(url: str) -> int:
    """The number of the page's own event that asks the models."""
    _, config = ask(url, "/config")
    events = json.loads(config)["dependencies"]
    return next(e["id"] for e in events if len(e["inputs"]) == 5 and len(e["outputs"]) == 4)


def join(
    url: str, picture: Any, question: Any = "what color is the circle?", **crafted: Any
) -> tuple[int, bytes]:
    """Ask the first packaged model about a picture, as a crafted request."""
    body = {
        "data": [picture, question, ["tiny-clip-gru-easyvqa"], False, None],
        "fn_index": asking_function(url),
        "session_hash": "stranger",
        "event_data": None,
        "trigger_id": None,
        **crafted,
    }
    return ask(
        url,
        "/gradio_api/queue/join",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )


def file_data(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def answers(url: str) -> str:
    """What the page is told until it has its answer."""
    told = ""
    with urllib.request.urlopen(
        url + "/gradio_api/queue/data?session_hash=stranger", timeout=120
    ) as stream:
        for line in stream:
            told += line.decode()
            if "process_completed" in told or "close_stream" in told:
                return told
    return told


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "private.png")
    return tmp_path / "private.png"


def test_an_uploaded_picture_is_answered(page: Demo, secret: Path) -> None:
    status, told = upload(page.url, secret)
    assert status == 200
    (path,) = json.loads(told)
    assert join(page.url, file_data(path))[0] == 200
    assert "%" in answers(page.url)
    status, content = ask(page.url, f"/gradio_api/file={path}")
    assert (status, content) == (200, secret.read_bytes())


@pytest.mark.parametrize("more", [{}, {"is_stream": True}, {"url": "http://127.0.0.1:9/x.png"}])
def test_a_picture_elsewhere_on_the_disk_is_refused(
    page: Demo, secret: Path, more: dict[str, Any]
) -> None:
    status, told = join(page.url, file_data(str(secret), **more))
    assert (status, json.loads(told)["detail"]) == (403, ONLY_UPLOADED)


@pytest.mark.parametrize("wrapped", ["question", "list", "nested"])
def test_no_other_box_takes_a_file(page: Demo, secret: Path, wrapped: str) -> None:
    given = {
        "question": file_data(str(secret)),
        "list": [file_data(str(secret))],
        "nested": {"value": file_data(str(secret))},
    }[wrapped]
    assert join(page.url, None, given)[0] in (400, 403)


@pytest.mark.parametrize(
    "crafted",
    [
        {"fn_index": 999},
        {"fn_index": -1},
        {"fn_index": "0"},
        {"fn_index": True},
        {"fn_index": None},
        {"fn_index": 10**30},
        {"session_hash": ["x"]},
        {"session_hash": None},
        {"trigger_id": "x"},
        {"trigger_id": {}},
        {"data": []},
        {"data": None},
        {"data": {}},
    ],
    ids=str,
)
def test_a_request_that_is_none_of_the_pages_is_told_so(page: Demo, crafted: Any) -> None:
    status, told = join(page.url, None, **crafted)
    assert (status, json.loads(told)["detail"]) == (
        400,
        "The request is not one of this page: reload it.",
    )


def test_files_that_exist_and_that_do_not_are_refused_alike(page: Demo, secret: Path) -> None:
    there = join(page.url, file_data(str(secret)))
    gone = join(page.url, file_data(str(secret.with_name("nothing.png"))))
    device = join(page.url, file_data("/dev/zero"))
    assert there == gone == device


def test_a_way_out_of_the_upload_folder_is_refused(page: Demo, secret: Path) -> None:
    (path,) = json.loads(upload(page.url, secret)[1])
    folder = Path(path).parent
    for way in (f"{folder}/../../../{secret}", str(folder), f"{folder}/./../..", f"{path}\0.png"):
        assert join(page.url, file_data(way))[0] == 403
    link = folder / "link.png"
    os.symlink(secret, link)
    assert join(page.url, file_data(str(link)))[0] == 403
    assert ask(page.url, f"/gradio_api/file={link}")[0] == 403
    link.unlink()


def test_no_address_is_fetched_for_a_visitor(page: Demo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        assert join(page.url, file_data(address))[0] == 403
        assert join(page.url, file_data("x", url=address))[0] == 403
        assert join(page.url, file_data(address, is_stream=True))[0] == 403
        for door in ("file=", "proxy=", "file/"):
            assert ask(page.url, f"/gradio_api/{door}{address}")[0] in (403, 404)
        with pytest.raises(TimeoutError):
            listener.accept()
    connected = set(page.connected.read_text().split()) if page.connected.exists() else set()
    assert connected <= set(LOOPBACK)


def test_what_the_page_does_not_ask_for_is_not_there(page: Demo) -> None:
    for path in (
        "/gradio_api/info",
        "/gradio_api/call/ask",
        "/gradio_api/run/ask",
        "/monitoring",
        "/gradio_api/openapi.json",
        "/gradio_api/vibe-code/",
        "/gradio_api/deep_link",
        "/login",
    ):
        assert ask(page.url, path)[0] == 404, path
        assert ask(page.url, path, b"{}")[0] == 404, path


def test_another_page_cannot_upload_or_ask_through_the_visitors_browser(
    page: Demo, secret: Path
) -> None:
    for origin in ("https://elsewhere.example", "null", "http://127.0.0.1:1"):
        assert upload(page.url, secret, Origin=origin)[0] == 403
    own = f"http://{urlsplit(page.url).netloc}"
    assert upload(page.url, secret, Origin=own)[0] == 200


def test_uploads_are_bounded_in_total(page: Demo, secret: Path) -> None:
    status, told = ask(
        page.url,
        "/gradio_api/upload",
        b"x",
        {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(1 << 40),
        },
    )
    assert status == 413
    assert b"as many pictures as it may" in told
    length = {"Content-Length": str(60 << 20)}
    status, told = ask(page.url, "/gradio_api/upload", b"x", length)
    assert (status, b"at most 50 MB" in told) == (413, True)


def test_an_upload_that_tells_two_lengths_is_refused(page: Demo) -> None:
    """Of the two the server heeds the chunks: the length would be any number."""
    where = urlsplit(page.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as visitor:
        visitor.sendall(
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 1\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
        )
        assert visitor.recv(1000).startswith(b"HTTP/1.1 411")


def test_uploads_that_arrive_at_once_are_bounded_together(tmp_path, monkeypatch) -> None:
    from vqazoo_demo import doors

    monkeypatch.setattr(doors, "MOST_UPLOADED", 100)
    told: list[int] = []

    async def send(message: Any) -> None:
        told.append(message.get("status", 0))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def three() -> list[int]:
        arrived, over = 0, asyncio.Event()

        async def slowly(scope: Any, receive: Any, send: Any) -> None:
            nonlocal arrived
            arrived += 1
            await over.wait()
            if arrived == 2:
                raise OSError("the visitor is gone")

        door = doors.Doors(slowly, tmp_path, {})

        def upload(length: int) -> Any:
            headers = [(b"content-length", str(length).encode())]
            scope = {
                "type": "http",
                "method": "POST",
                "path": doors.UPLOAD,
                "headers": headers,
            }
            return door(scope, receive, send)

        first, second = asyncio.create_task(upload(60)), asyncio.create_task(upload(30))
        await asyncio.sleep(0.01)
        await asyncio.wait_for(upload(11), 5)
        refused = list(told)
        over.set()
        await asyncio.gather(first, second, return_exceptions=True)
        told.clear()
        await upload(100)  # there is room again, also after a failure
        return refused

    assert asyncio.run(three())[0] == 413
    assert told == []


def test_a_model_is_asked_once_however_often_a_visitor_names_it(page: Demo) -> None:
    assert join(page.url, None, ["tiny-clip-gru-easyvqa"] * 2)[0] == 400


def test_a_question_that_is_no_question_is_refused_in_a_sentence(page: Demo) -> None:
    for body in (b"", b"[]", b"{", b'{"data": 5}', b"[" * 100_000, b'{"data": [{"path": 5}]}'):
        status, told = ask(page.url, "/gradio_api/queue/join", body)
        assert status in (400, 403)
        assert json.loads(told)["detail"].endswith((".", "reload it."))
    assert ask(page.url, "/gradio_api/queue/join", b" " * (2 << 20))[0] == 413
