"""Bodies made to cost much: they are refused before anything is built, and delay nobody."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser

from tests.plugins.serve.conftest import CLASSIFIER, WRITER
from tests.plugins.serve.service import scenes, serving
from tests.plugins.serve.test_refusals import GOOD, refused
from vqazoo_serve import bodies, form_body, json_body
from vqazoo_serve.form_body import read_form
from vqazoo_serve.intake import Place
from vqazoo_serve.json_body import read_object
from vqazoo_serve.logs import JsonLines
from vqazoo_serve.settings import MIB, Refusal

KNOWN = {"question": 8, "image": 8, "image_url": 8, "top_k": 0, "candidates": 200, "model": 0}
KEYS = 1_600_000
AS_JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(models: Any) -> Any:
    with serving({name: models[name] for name in (CLASSIFIER, WRITER)}) as found:
        yield found


def unknown_keys() -> bytes:
    return b"{" + b",".join(b'"k%d":0' % number for number in range(KEYS)) + b"}"


def parts(count: int, name: str = "question") -> bytes:
    part = f'--y\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nwhat?\r\n'
    return part.encode() * count + b"--y--\r\n"


def deep(opening: bytes) -> bytes:
    return b'{"question": ' + opening * 5_000_000


HOSTILE = [
    (unknown_keys, AS_JSON, 422, "'k0' is not known"),
    (lambda: b'{"question": [' + b'"a",' * 4_000_000 + b'"a"]}', AS_JSON, 422, "at most 32 items"),
    (lambda: deep(b"["), AS_JSON, 422, "no list may be there"),
    (lambda: deep(b'{"a":'), AS_JSON, 413, "larger than"),
    (lambda: b'{"top_k": ' + b"9" * 15_000_000 + b"}", AS_JSON, 422, "a number is too long"),
    (lambda: b"{" + b'"top_k": 1, ' * 1_500_000 + b"}", AS_JSON, 422, "'top_k' is given twice"),
    (lambda: b'{"image": "' + b" \\n" * 6_000_000 + b'"}', AS_JSON, 422, "'question' is missing"),
    (lambda: b'{"' + b"a" * 15_000_000 + b'": 1}', AS_JSON, 422, "is not known"),
    (lambda: parts(100_000), "y", 422, "at most 32 items"),
    (lambda: parts(100_000, "zebra"), "y", 422, "'zebra' is not known"),
    (lambda: b"\r\n--" * 5_000_000, "y", 400, "its boundary is not there"),
    (lambda: b"--y\r\n" * 4_000_000, "y", 400, "The form cannot be read"),
    (lambda: b"--y\r\n" + b"A: b\r\n" * 3_000_000, "y", 400, "too many headers"),
]


@pytest.mark.parametrize(("body", "kind", "status", "words"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_costly_body_is_refused_and_others_are_answered_meanwhile(
    client, body, kind, status, words
):
    """Reading 18 MB takes the event loop some moments; what they hold must not."""
    content = body()
    headers = {"Content-Type": f"multipart/form-data; boundary={kind}"} if kind == "y" else kind
    waits = []
    with ThreadPoolExecutor(1) as pool:
        hostile = pool.submit(client.post, "/answer", content=content, headers=headers)
        while not hostile.done():
            started = time.perf_counter()
            assert client.get("/health").status_code == 200
            waits.append(time.perf_counter() - started)
            time.sleep(0.005)
    refused(hostile.result(), status, words)
    assert max(waits) < 2
    assert sum(waits) < 6


def test_unknown_keys_take_no_more_memory_than_the_body():
    body = unknown_keys()
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="'k0' is not known"):
            read_object(body, KNOWN)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


# ---- what is read is what others read ---------------------------------------------------------

scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.text(max_size=20),
    st.floats(allow_nan=False, allow_infinity=False),
)
fields = st.fixed_dictionaries(
    {},
    optional={
        **{name: scalar | st.lists(scalar, max_size=most) for name, most in KNOWN.items() if most},
        **{name: scalar for name, most in KNOWN.items() if not most},
    },
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(fields, st.booleans(), st.sampled_from([None, 1, "\t"]), encodings)
def test_json_is_read_as_the_standard_library_reads_it(fields, ascii_only, indent, encoding):
    text = json.dumps(fields, ensure_ascii=ascii_only, indent=indent)
    try:
        body = text.encode(encoding)
    except UnicodeEncodeError:
        return
    assert read_object(body, KNOWN) == json.loads(body)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(fields, st.integers(0, 200), st.sampled_from(list('{}[],:"\\ 0-.eEtn\x00\n')))
def test_broken_json_is_refused_where_the_standard_library_refuses_it(fields, place, character):
    text = json.dumps(fields)
    place %= len(text)
    for broken in (text[:place], text[:place] + character + text[place + 1 :]):
        try:
            pairs = json.loads(broken, object_pairs_hook=list)
        except ValueError:
            with pytest.raises(Refusal):
                read_object(broken.encode(), KNOWN)
        else:
            one_level = all(isinstance(pair, tuple) and pair[0] in KNOWN for pair in pairs)
            if broken.startswith("{") and one_level and len(dict(pairs)) == len(pairs):
                assert read_object(broken.encode(), KNOWN) == json.loads(broken)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"question": "a", "question": "b"}', 422, "'question' is given twice"),
        (b'{"question": NaN}', 400, "not valid JSON"),
        (b'{"top_k": Infinity}', 400, "not valid JSON"),
        (b'{"top_k": [1]}', 422, "'top_k' cannot be used: no list may be there"),
        (b'{"question": {"a": 1}}', 422, "'question' cannot be used: no object may be there"),
        (b'{"question": [["a"]]}', 422, "'question' cannot be used: no list may be there"),
        (b'{"question": "a"} {}', 400, "not valid JSON"),
        (b'{"question": "a",}', 400, "not valid JSON"),
        (b"{'question': 'a'}", 400, "not valid JSON"),
        (b'{"question": "a\nb"}', 400, "not valid JSON"),
        (b'"question"', 422, "not an object"),
        (b"", 400, "not valid JSON"),
        (b'{"question": "\xff"}', 400, "not valid JSON"),
        (b'{"top_k": 01}', 400, "not valid JSON"),
    ],
)
def test_json_that_says_two_things_or_none_is_refused(body, status, words):
    with pytest.raises(Refusal, match=words) as caught:
        read_object(body, KNOWN)
    assert caught.value.status == status


def form(**fields: Any) -> tuple[str, bytes]:
    """A form as httpx writes it."""
    files = fields.pop("files", None) or [("image", ("a.png", b"\x89PNG\r\n\x1a\n--\r\n--x"))]
    request = httpx.Request("POST", "http://a", data=fields, files=files)
    return request.headers["Content-Type"], request.read()


def as_starlette_reads_it(kind: str, body: bytes) -> tuple[dict[str, list[str]], list[bytes]]:
    async def content() -> Any:
        yield body
        yield b""

    async def parse() -> Any:
        found = await MultiPartParser(Headers({"Content-Type": kind}), content()).parse()
        texts: dict[str, list[str]] = {}
        images = []
        for name, value in found.multi_items():
            if isinstance(value, UploadFile):
                images.append(await value.read())
            else:
                texts.setdefault(name, []).append(value)
        await found.close()
        return texts, images

    return asyncio.run(parse())


FORMS = [
    {"question": "what?"},
    {"question": ["what?", "größer? 🦓", ""], "candidates": "one", "top_k": "3"},
    {"question": "a\r\nb--", "files": [("image", ('ü "quoted"; name=x.png', b""))]},
    {"question": "a", "files": [("image", (f"{n}.png", bytes([n, 13, 10]) * n)) for n in range(8)]},
]


@pytest.mark.parametrize("fields", FORMS, ids=range(len(FORMS)))
def test_a_form_is_read_as_starlette_reads_it(fields):
    kind, body = form(**fields)
    texts, images = as_starlette_reads_it(kind, body)
    read, files = read_form(kind, body, KNOWN)
    assert files == images
    read = {
        name: [str(one) for one in (v if isinstance(v, list) else [v])] for name, v in read.items()
    }
    assert read == texts
    assert read_form(kind, b"preamble\r\n" + body + b"epilogue", KNOWN)[1] == images


def test_a_form_cut_anywhere_is_refused():
    kind, body = form(**FORMS[1])
    whole = body.rindex(b"--") + 2
    for length in range(whole):
        with pytest.raises(Refusal) as caught:
            read_form(kind, body[:length], KNOWN)
        assert caught.value.status == 400
    assert read_form(kind, body[:whole], KNOWN) == read_form(kind, body, KNOWN)


@pytest.mark.parametrize(
    ("kind", "head", "words"),
    [
        ("multipart/form-data", "", "names no boundary"),
        ("multipart/form-data; boundary=", "", "names no boundary"),
        ('multipart/form-data; boundary="y', "", "parameters that are none"),
        ("multipart/form-data; boundary=y", "X: y", "no header Content-Disposition"),
        ("multipart/form-data; boundary=y", "Content-Disposition: form-data", "has no name"),
        ("multipart/form-data; boundary=y", 'Content-Disposition: attachment; name="a"', "no name"),
        (
            "multipart/form-data; boundary=y; charset=punycode",
            'Content-Disposition: form-data; name="question"',
            "is not text in UTF-8",
        ),
        (
            "multipart/form-data; boundary=y",
            'Content-Disposition: form-data; name="question"',
            "is not text in UTF-8",
        ),
    ],
)
def test_a_form_that_cannot_be_understood_is_refused(kind, head, words):
    body = b"--y\r\n" + head.encode() + b"\r\n\r\n\xff\r\n--y--\r\n"
    with pytest.raises(Refusal, match=words):
        read_form(kind, body, KNOWN)


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("width", [76, 10**6])
def test_base64_is_read_however_it_is_wrapped(client, start, width):
    (picture,) = scenes(1)
    text = base64.b64encode(picture).decode()
    lines = "\r\n".join(text[place : place + width] for place in range(0, len(text), width))
    assert client.post("/answer", json=GOOD | {"image": start + lines}).status_code == 200


@pytest.mark.parametrize("reader", ["read_form", "read_object"])
@pytest.mark.parametrize("failure", [TypeError, LookupError, TimeoutError])
def test_a_failure_of_ours_while_reading_is_a_500_and_logged(client, monkeypatch, reader, failure):
    """With other versions of its companions, a TypeError made every form a 'broken form'."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.getLogger("vqazoo_serve").addHandler(handler)

    def fail(*_: Any) -> Any:
        raise failure("unexpected keyword argument of a secret")

    monkeypatch.setattr(bodies, reader, fail)
    try:
        content = {"json": GOOD} if reader == "read_object" else {"files": {"image": b"x"}}
        refused(client.post("/answer", **content), 500, "The service failed on this request")
    finally:
        logging.getLogger("vqazoo_serve").removeHandler(handler)
    assert f'"error": "{failure.__name__}"' in stream.getvalue()
    assert "secret" not in stream.getvalue()


def test_pictures_that_take_long_do_not_keep_small_ones_waiting(client, pictures, monkeypatch):
    """The threads that decode large pictures are not those that decode small ones."""
    import threading

    from PIL import Image

    from tests.plugins.serve.service import png
    from vqazoo_serve import images

    free = threading.Event()
    opened = images.open_image

    def slow(image: Image.Image) -> Image.Image:
        if image.width > 2000:
            free.wait(30)
        return opened(image)

    monkeypatch.setattr(images, "open_image", slow)
    large = png(Image.new("RGB", (2400, 2000), "red"))
    with ThreadPoolExecutor(6) as pool:
        ask = {"data": {"question": "what is it?"}}
        waiting = [
            pool.submit(client.post, "/answer", **ask, files={"image": large + bytes([n])})
            for n in range(6)
        ]
        small = [client.post("/answer", **ask, files={"image": one}) for one in pictures]
        assert not any(one.done() for one in waiting)
        free.set()
        assert {one.result().status_code for one in waiting} == {200}
    assert {one.status_code for one in small} == {200}


def test_the_largest_body_that_is_allowed_is_answered(client):
    (picture,) = scenes(1)
    padded = base64.b64encode(picture + bytes(12 * MIB)).decode()
    reply = client.post("/answer", json={"image": padded, "question": "what shape is it?"})
    assert reply.status_code == 200


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "of Pillow"])
def test_a_failure_of_ours_while_decoding_is_a_500_and_one_of_pillow_a_broken_picture(
    client, monkeypatch, ours
):
    from PIL import Image

    from vqazoo_serve import images

    def fail(*_: Any, **__: Any) -> Any:
        raise TypeError("a secret")

    if ours:
        monkeypatch.setattr(images, "open_image", fail)
        refused(client.post("/answer", json=GOOD), 500, "The service failed on this request")
        return
    monkeypatch.setattr(images, "open_image", lambda _: Image.new("RGB", "abc"))
    refused(client.post("/answer", json=GOOD), 422, "The image is damaged (ValueError)")


def test_a_batch_that_fails_as_a_whole_is_logged_though_its_questions_are_answered(
    models, monkeypatch, pictures
):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.getLogger("vqazoo_serve").addHandler(handler)
    head = models[CLASSIFIER].head
    predict = head.predict

    def alone(fused: Any, *rest: Any, **options: Any) -> Any:
        if len(fused) > 1:
            raise TypeError("a secret")
        return predict(fused, *rest, **options)

    monkeypatch.setattr(head, "predict", alone)
    try:
        with serving({CLASSIFIER: models[CLASSIFIER]}) as served:
            data = {"question": ["what?", "which color?"]}
            reply = served.post("/answer", data=data, files={"image": pictures[0]})
    finally:
        logging.getLogger("vqazoo_serve").removeHandler(handler)
    assert reply.status_code == 200
    assert '"questions": 2, "error": "TypeError"' in stream.getvalue()
    assert "secret" not in stream.getvalue()


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_body_that_is_searched_in_small_steps_is_read_the_same(monkeypatch, step):
    for module in (json_body, form_body):
        monkeypatch.setattr(module, "LONGEST_STEP", step)
    spaced = b'{ \n\t "question"   :   [  "what?"  ,\n\n "why?" ]   ,"top_k"  :  3   }  \n   '
    assert read_object(spaced, KNOWN) == json.loads(spaced)
    form = b"before\r\n--x\r\n" + parts(2).replace(b"what?", b"what?\r\n--x\r\n-")
    told, images = read_form("multipart/form-data; boundary=y", form, KNOWN)
    assert (told, images) == ({"question": ["what?\r\n--x\r\n-"] * 2}, [])


def test_a_body_that_says_it_is_too_large_is_not_kept(client, monkeypatch):
    held = []
    monkeypatch.setattr(Place, "hold", lambda place, count: held.append(count))
    reply = client.post("/answer", content=b" " * 30_000_000, headers=AS_JSON)
    assert reply.status_code == 413
    assert sum(held) == max(held, default=0) == 0
