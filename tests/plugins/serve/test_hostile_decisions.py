"""Bodies of decisions that are made to hurt are refused at once, and fetch nothing."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from typing import Any

import pytest

from tests.plugins.serve.conftest import CLASSIFIER
from tests.plugins.serve.decisions import shown
from tests.plugins.serve.service import serving
from vqazoo_serve import answering
from vqazoo_serve.json_tree import DEEPEST, MOST_VALUES, read_tree
from vqazoo_serve.settings import Refusal


def made(rng: random.Random, depth: int = 0) -> Any:
    """A value of any kind that JSON has."""
    kind = rng.randrange(6 if depth < 4 else 4)
    if kind == 4:
        return [made(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return {f"k{n}é": made(rng, depth + 1) for n in range(rng.randrange(4))}
    plain: list[Any] = [
        rng.choice((True, False, None)),
        rng.random() * 1e6,
        rng.randrange(99),
        'ü"\n🦓',
    ]
    return plain[kind]


def refusal(body: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_tree(body)
    return caught.value


@pytest.mark.parametrize("indent", [None, 2])
def test_a_tree_is_read_as_json_reads_it(indent):
    rng = random.Random(0)
    for _ in range(200):
        tree = {"a": made(rng), "b": [made(rng)]}
        for ascii_only in (True, False):
            body = json.dumps(tree, indent=indent, ensure_ascii=ascii_only).encode()
            assert read_tree(body) == tree


def test_a_tree_that_is_cut_anywhere_is_refused():
    body = b'{"a": [1, {"b": "c\\u00e9"}, null], "d": -1.5e3}'
    for length in range(len(body)):
        assert refusal(body[:length]).status in (400, 422)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"a": 1, "a": 2}', 422, "given twice"),
        (b'{"a": {"b": 1, "b": 2}}', 422, "given twice"),
        (b'{"a": "\\ud800"}', 422, "surrogate"),
        (b'{"a": 1e999}', 422, "too large"),
        (b'{"a": ' + b"9" * 40 + b"}", 422, "too long"),
        (b'{"a": NaN}', 400, "not valid JSON"),
        (b'{"a": [1,]}', 400, "not valid JSON"),
        (b'{"a": 1} 2', 400, "not valid JSON"),
        (b"[]", 422, "is not an object"),
        (b"\xff{}", 400, "not valid JSON"),
        (b'{"a": ' + b"[" * 1_000_000, 422, f"more than {DEEPEST} lists"),
        (b'{"a": ' + b'{"b": ' * 1_000_000, 422, f"more than {DEEPEST} lists"),
        (b'{"a": [' + b"1," * 10_000_000, 422, f"more than {MOST_VALUES:,} values"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else None,
)
def test_what_json_can_say_but_nobody_means_is_refused_soon(body, status, words):
    started = time.process_time()
    found = refusal(body)
    assert (found.status, words in found.message) == (status, True), found.message
    assert time.process_time() - started < 10


def test_the_largest_request_that_is_allowed_is_read():
    options = [{"value": str(number), "description": "d"} for number in range(255)]
    questions = [{"type": "choice", "instructions": "?", "choices": options}] * 400
    tree = {"questions": questions}
    assert read_tree(json.dumps(tree).encode()) == tree
    assert math.prod((400, 255, 3)) < MOST_VALUES


def test_addresses_are_fetched_where_the_operator_allows_it_by_the_rules_of_pictures(
    models, pictures, monkeypatch
):
    asked: list[str] = []

    async def fetched(url: str, most: int) -> bytes:
        asked.append(url)
        await asyncio.sleep(0)
        if "private" in url:
            raise Refusal(422, "url", "The image URL leads to a private or reserved address.")
        return pictures[0]

    monkeypatch.setattr(answering, "fetch", fetched)
    red = {"type": "predicate", "instructions": "is it red?"}

    def body(url: str) -> dict[str, Any]:
        (message,) = shown(pictures[0])
        message["content"][0]["image_url"] = url
        return {"model": CLASSIFIER, "input": [message], "questions": [red]}

    with serving({CLASSIFIER: models[CLASSIFIER]}, allow_urls=True) as client:
        url = "http://example.org/a.png"
        reply = client.post("/v1/decisions", json=body(url))
        assert reply.status_code == 200, reply.text
        assert asked == [url]
        refused = client.post("/v1/decisions", json=body("http://private.example/a.png"))
        assert refused.status_code == 400
        assert "private or reserved" in refused.json()["error"]["message"]
        own = client.post(
            "/v1/decisions",
            json={"model": CLASSIFIER, "input": shown(pictures[0]), "questions": [red]},
        )
        assert own.json()["answers"] == reply.json()["answers"]


def test_the_page_tells_of_every_part_of_a_request(models):
    with serving({CLASSIFIER: models[CLASSIFIER]}) as client:
        page = client.get("/docs").text
        document: dict[str, Any] = client.get("/openapi.json").json()
    for name in ("POST /v1/decisions", "POST /v1/systemone", "GET /v1/models"):
        assert name in page
    for part in ("UserMessage", "InputImage", "ChoiceOption", "Level", "Asset"):
        assert f"<h4>{part}</h4>" in page
    named = set(_references(document))
    assert named <= {f"#/components/schemas/{n}" for n in document["components"]["schemas"]}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for inner in value.values() for ref in _references(inner)]
    if isinstance(value, list):
        return [ref for inner in value for ref in _references(inner)]
    return []
