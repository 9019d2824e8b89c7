"""Pictures of web servers are known by what the server says of their version, or read anew."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vqazoo.files.elsewhere import place_of
from vqazoo.files.keys import FileKeys
from vqazoo.media.beside import beside

pytest.importorskip("aiohttp", reason="what reads http:// is not installed")


class Server(http.server.BaseHTTPRequestHandler):
    """One picture, of which it says what `headers_said` holds."""

    content, headers_said = b"", dict[str, str]()

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": len(self.content), **self.headers_said}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.content)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(socket_enabled: None) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/photo.png"
        server.shutdown()


@pytest.mark.parametrize("said", [{}, {"ETag": '"{}"'}, {"Last-Modified": "{}"}])
def test_a_picture_of_equal_size_that_a_server_replaced_is_another(
    said: dict[str, str], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside.png").write_bytes(b"here")
    place = place_of(address, web=True)
    pair = beside(tmp_path / "beside.png", place)
    keys, stamps = [], []
    for version in ("one", "two"):
        monkeypatch.setattr(Server, "content", version.encode())
        monkeypatch.setattr(Server, "headers_said", {k: v.format(version) for k, v in said.items()})
        known = FileKeys(tmp_path)
        keys.append(known.key(place))
        stamps.append((place.stamp(), pair.stamp()))  # type: ignore[attr-defined]
        assert known.key(place) == keys[-1]
        known.save()
    assert keys[0] != keys[1]
    if said:
        assert stamps[0][0] != stamps[1][0]
        assert stamps[0][1] != stamps[1][1]
    else:
        assert stamps == [([], []), ([], [])]
