"""Requests that are not answered get a status, one clear sentence as JSON, and nothing else."""

from __future__ import annotations

import base64
import io
import logging
import re
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.plugins.serve.conftest import CLASSIFIER, WRITER
from tests.plugins.serve.service import png, serving, wait_for
from vqazoo_serve.logs import JsonLines

TOKEN = "a-token-that-nobody-guesses"
SMALL = base64.b64encode(png(Image.new("RGB", (8, 8), "red"))).decode()
GOOD: dict[str, Any] = {"image": SMALL, "question": "what color is it?"}


def refused(reply: httpx.Response, status: int, words: str) -> None:
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    body = reply.json()
    assert set(body) == {"error", "request_id"}
    assert body["request_id"] == reply.headers["X-Request-ID"]
    assert words in body["error"], body["error"]
    assert re.fullmatch(r"[^\n]+\.", body["error"])
    assert "Traceback" not in reply.text


def bomb() -> str:
    """A PNG of a few bytes whose header promises 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def many_pixels() -> str:
    return base64.b64encode(png(Image.new("L", (1001, 1000)))).decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"question": "  "}, "The question is empty"),
        ({"question": []}, "'question' cannot be used: list should have at least 1 item"),
        ({"question": ["what?"] * 9}, "should have at most 8 items"),
        ({"question": "a" * 501}, "should have at most 500 characters"),
        ({"question": ["fine?", "a" * 501]}, "should have at most 500 characters"),
        ({"question": 5}, "'question' cannot be used: input should be a valid string"),
        ({"question": None}, "'question' cannot be used"),
        ({"question": "broken \ud800"}, "'question' cannot be used"),
        ({"image": "not base64!"}, "is not base64"),
        ({"image": ""}, "'image' cannot be used"),
        ({"image": "aGVsbG8="}, "are not a picture in a format that is read"),
        ({"image": SMALL[:60]}, "The image"),
        ({"image": None}, "either the field 'image' or the field 'image_url'"),
        ({"image": [SMALL] * 3, "question": ["a?", "b?"]}, "3 images but 2 questions"),
        ({"image_url": "http://example.org/a.png"}, "either the field 'image' or the field"),
        ({"image": None, "image_url": "http://example.org/a.png"}, "fetches no URLs"),
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"top_k": 101}, "less than or equal to 100"),
        ({"top_k": "3"}, "'top_k' cannot be used: input should be a valid integer"),
        ({"top_k": True}, "'top_k' cannot be used"),
        ({"model": "tiny-clip-lstm"}, "is not served. Did you mean 'tiny-clip-lstm-easyvqa'"),
        ({"candidates": ["zebra"]}, "knows none of the 1 candidates, such as 'zebra'"),
        ({"candidates": ["red", " "], "model": WRITER}, "One of the candidates is empty"),
        ({"frobnicate": 1}, "'frobnicate' is not known: the fields are question, image"),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_used_is_named(client, changes, words):
    import json

    body = json.dumps({k: v for k, v in (GOOD | changes).items() if v is not None or k != "image"})
    refused(
        client.post("/answer", content=body, headers={"Content-Type": "application/json"}),
        422,
        words,
    )


@pytest.mark.parametrize(
    ("image", "words"),
    [(many_pixels, "1,001,000 pixels, but at most 1,000,000"), (bomb, "pixels")],
)
def test_a_picture_with_too_many_pixels_is_not_decoded(client, image, words):
    refused(client.post("/answer", json=GOOD | {"image": image()}), 422, words)


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "not valid JSON"),
        (b"\xff\xfe", "application/json", 400, "not valid JSON"),
        (b"[" * 100_000, "application/json", 400, "not valid JSON"),
        (b"[]", "application/json", 422, "not an object"),
        (b"{}", "application/json", 422, "The field 'question' is missing"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "say which it is"),
        (b"", "", 415, "say which it is"),
        (b"x", "multipart/form-data", 400, "The form cannot be read"),
        (b"x", "multipart/form-data; boundary=y", 400, "The form cannot be read"),
        (b"--y--", "multipart/form-data; boundary=y; charset=nonsense", 422, "is missing"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(client, content, kind, status, words):
    reply = client.post("/answer", content=content, headers={"Content-Type": kind})
    refused(reply, status, words)


@pytest.mark.parametrize(
    ("fields", "files", "words"),
    [
        ({"question": "a?", "image": "text"}, [("nothing", b"")], "'image' is text"),
        ({"question": "a?"}, [("image", b"x"), ("top_k", b"3")], "'top_k' is a file"),
        ({"question": "a?", "top_k": ["1", "2"]}, [("image", b"x")], "'top_k' is given 2 times"),
        ({"question": "a?", "top_k": "many"}, [("image", b"x")], "'top_k' cannot be used"),
        ({"question": "a?"}, [("image", b"x")] * 9, "more than 8 images"),
    ],
)
def test_a_form_with_the_wrong_fields_is_refused(client, fields, files, words):
    refused(client.post("/answer", data=fields, files=files), 422, words)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_request_that_is_too_large_is_refused(client, declared):
    content = b'{"image": "' + b"A" * (1 << 20) + b'"}'
    body: Any = content if declared else iter([content[:1000], content[1000:]])
    reply = client.post("/answer", content=body, headers={"Content-Type": "application/json"})
    refused(reply, 413, "larger than the 1,048,576 bytes")


def test_what_is_not_there_is_said_as_json(client):
    refused(client.get("/nothing"), 404, "see /docs")
    refused(client.get("/answer"), 405, "The method GET is not for this path")


def test_a_full_queue_refuses_with_429_and_says_when_to_come_back(models):
    with serving({CLASSIFIER: models[CLASSIFIER]}, queue=2, max_wait_ms=3000) as client:
        with ThreadPoolExecutor(6) as pool:
            replies = list(pool.map(lambda _: client.post("/answer", json=GOOD), range(6)))
        states = sorted(reply.status_code for reply in replies)
        assert states == [200] * 2 + [429] * 4
        for reply in replies:
            if reply.status_code == 429:
                refused(reply, 429, "as many as it takes")
                assert int(reply.headers["Retry-After"]) >= 1
        assert client.post("/answer", json=GOOD).status_code == 200
        assert 'vqazoo_refused_total{reason="queue"} 4.0' in client.get("/metrics").text


def test_a_large_body_is_read_before_it_is_refused_so_that_the_client_sees_why(models):
    with serving({CLASSIFIER: models[CLASSIFIER]}, token=TOKEN, max_body=4 << 20) as client:
        reply = client.post("/answer", content=b"x" * (4 << 20))
        refused(reply, 401, "The token is missing or wrong")


def test_an_answer_that_takes_too_long_is_given_up_and_the_next_is_answered(models):
    with serving({CLASSIFIER: models[CLASSIFIER]}, timeout=2, max_wait_ms=4000) as client:
        refused(client.post("/answer", json=GOOD), 504, "no answer after 2 seconds")
        assert "vqazoo_requests_in_flight 0.0" in client.get("/metrics").text
    with serving({CLASSIFIER: models[CLASSIFIER]}, timeout=0.5) as client:
        host, port = client.base_url.host, client.base_url.port
        with socket.create_connection((host, port), timeout=30) as slow:
            slow.sendall(
                b"POST /answer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert client.get("/health").status_code == 200


def test_without_the_token_only_health_and_the_description_are_open(models):
    with serving({CLASSIFIER: models[CLASSIFIER]}, token=TOKEN) as client:
        for wrong in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": b"Bearer \xff\xfe"},
        ):
            for reply in (
                client.post("/answer", json=GOOD, headers=wrong),
                client.get("/models", headers=wrong),
                client.get("/metrics", headers=wrong),
            ):
                refused(reply, 401, "send 'Authorization: Bearer TOKEN'")
                assert reply.headers["WWW-Authenticate"] == "Bearer"
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/answer", json=GOOD, headers=right).status_code == 200
        assert client.get("/models", headers=right).status_code == 200
        assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
        assert TOKEN not in client.get("/docs").text + client.get("/openapi.json").text


def test_a_failure_inside_is_a_sentence_and_the_log_quotes_nobody(models, monkeypatch):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("vqazoo_serve")
    log.addHandler(handler)

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the secret question")

    try:
        with serving({CLASSIFIER: models[CLASSIFIER]}) as client:
            wait_for(client)
            monkeypatch.setattr(models[CLASSIFIER].head, "predict", fail)
            reply = client.post("/answer", json=GOOD)
            monkeypatch.undo()
            refused(reply, 500, "The service failed on this request")
            assert client.post("/answer", json=GOOD).status_code == 200
    finally:
        log.removeHandler(handler)
    assert reply.json()["request_id"] in stream.getvalue()
    assert '"error": "RuntimeError"' in stream.getvalue()
    assert "test_refusals.py" in stream.getvalue()  # where it happened
    assert "secret" not in stream.getvalue() + reply.text
