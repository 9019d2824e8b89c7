"""Pictures from URLs: only where allowed, and never from addresses that are not public."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.plugins.serve.conftest import CLASSIFIER
from tests.plugins.serve.service import allow_loopback, scenes, serving
from vqazoo_serve import fetch as fetching
from vqazoo_serve.addresses import is_public
from vqazoo_serve.fetch import fetch
from vqazoo_serve.settings import Refusal

PICTURE = scenes(1)[0]


class Site(ThreadingHTTPServer):
    """Remembers who was asked for what; `/to/URL` redirects there."""

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Page)
        self.asked: list[tuple[str, str]] = []  # host header, path


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        self.server.asked.append((self.headers["Host"], self.path))
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        body = b"x" * 100_000 if self.path == "/large" else PICTURE
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    """One that the tests below call public, and one that stays private."""
    allow_loopback()
    found = Site("127.0.0.1"), Site("127.0.0.2")
    threads = [threading.Thread(target=site.serve_forever) for site in found]
    for thread in threads:
        thread.start()
    yield found
    for site, thread in zip(found, threads, strict=True):
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def one_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fetching, "is_public", lambda address: address == "127.0.0.1" or is_public(address)
    )


def place(site: Site, path: str = "/", host: str | None = None) -> str:
    address, port = site.server_address[:2]
    return f"http://{host or str(address)}:{port}{path}"


def refusal(url: str, most: int = 50_000) -> str:
    with pytest.raises(Refusal) as error:
        asyncio.run(fetch(url, most))
    assert error.value.status == 422
    return error.value.message


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
        ("2001:db8::1", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address, public):
    assert is_public(address) is public


def test_addresses_of_this_machine_are_refused_however_they_are_written(models, sites):
    site, _ = sites
    port = site.server_address[1]
    hosts = [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "169.254.169.254",
        "192.168.0.1",
    ]
    with serving({CLASSIFIER: models[CLASSIFIER]}, allow_urls=True) as client:
        for host in hosts:
            url = f"http://{host}:{port}/"
            reply = client.post("/answer", json={"image_url": url, "question": "what?"})
            assert reply.status_code == 422, host
            assert reply.json()["error"].startswith("The image URL ")
    assert site.asked == []


def test_a_redirect_to_a_private_address_is_not_followed(sites, one_is_public):
    public, private = sites
    assert "never fetched" in refusal(place(public, f"/to/{place(private)}"))
    assert "never fetched" in refusal(place(public, "/to/http://169.254.169.254/latest/"))
    assert "must start with http" in refusal(place(public, "/to/file:///etc/hostname"))
    assert private.asked == []
    assert len(public.asked) == 3


def test_a_public_redirect_is_followed_but_not_for_ever(sites, one_is_public):
    public, _ = sites
    assert asyncio.run(fetch(place(public, "/to//picture"), 50_000)) == PICTURE
    loop = place(public, "/to/" * 5)
    assert "redirects more than 3 times" in refusal(loop)


def test_a_name_is_resolved_once_and_the_checked_address_is_asked(
    sites, one_is_public, monkeypatch
):
    """A name that would be private the second time (DNS rebinding) has no second time."""
    public, private = sites
    port = public.server_address[1]
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked = []

    async def resolve(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", (address, port)) for address in answers[len(asked) - 1]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    assert asyncio.run(fetch(f"http://photos.example:{port}/a.png", 50_000)) == PICTURE
    assert asked == ["photos.example"]
    assert public.asked == [(f"photos.example:{port}", "/a.png")]
    assert private.asked == []


def test_a_name_with_one_private_address_among_others_is_refused(sites, one_is_public, monkeypatch):
    async def resolve(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.1", "10.0.0.1")]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    assert "never fetched" in refusal("http://photos.example/a.png")
    assert sites[0].asked == []


def test_what_is_too_large_missing_packed_or_slow_is_refused(sites, one_is_public, monkeypatch):
    public, _ = sites
    assert "larger than the 50,000 bytes" in refusal(place(public, "/large"))
    assert "status 404" in refusal(place(public, "/missing"))
    assert "compressed form" in refusal(place(public, "/packed"))
    assert "user name" in refusal("http://me:secret@127.0.0.1/")
    assert "must start with http" in refusal("ftp://127.0.0.1/a.png")
    assert "must start with http" in refusal("http://127.0.0.1/" + "a" * 3000)
    monkeypatch.setattr(fetching, "SECONDS", 0.0)
    assert "took longer than" in refusal(place(public))


def test_proxies_of_the_environment_are_not_used(sites, one_is_public, monkeypatch):
    public, private = sites
    monkeypatch.setenv("HTTP_PROXY", place(private))
    assert asyncio.run(fetch(place(public), 50_000)) == PICTURE
    assert private.asked == []


def test_an_allowed_url_is_answered_as_the_file_is(models, sites, one_is_public):
    with serving({CLASSIFIER: models[CLASSIFIER]}, allow_urls=True) as client:
        body = {"image_url": [place(sites[0]), place(sites[0])], "question": "what color is it?"}
        by_url = client.post("/answer", json=body)
        by_file = client.post(
            "/answer", data={"question": "what color is it?"}, files={"image": PICTURE}
        )
    answered = by_url.json()["answers"]
    expected = by_file.json()["answers"] + by_file.json()["answers"]
    for one, other in zip(answered, expected, strict=True):  # of batches of different sizes
        assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
        assert one == other
