"""Downloading from a server that drops, ignores, changes and lies; then a whole data root."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import threading
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import vqazoo.progress
from vqazoo.errors import DataError
from vqazoo_datasets.download import Archive, digests, fetch
from vqazoo_datasets.unpack import prepare

CONTENT = bytes(range(256)) * 8000  # two megabytes, eight reads
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """What the test server holds and does, and what it was asked."""

    def __init__(self) -> None:
        self.files = {"/a.bin": CONTENT}
        self.etag = '"one"'
        self.modified = ""
        self.drop_after = -1  # bytes of the next answers, as many times as `drops`
        self.drops = 0
        self.holds_at = -1  # bytes of an answer after which it waits for `goes_on`
        self.goes_on = threading.Event()
        self.ranges = True
        self.statuses: list[int] = []  # of the next answers, before any file
        self.encoding = ""
        self.redirect = ""
        self.asked: list[dict[str, str]] = []
        self.sent: list[int] = []
        self.url = ""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(to.headers.items()))
        if self.statuses:
            to.send_error(self.statuses.pop(0))
            return
        if self.redirect:
            to.send_response(302)
            to.send_header("Location", self.redirect)
            to.end_headers()
            return
        if to.path not in self.files:
            to.send_error(404)
            return
        content, start = self.files[to.path], 0
        asked = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
        strong = "" if self.etag.startswith("W/") else self.etag
        fits = to.headers.get("If-Range") in (None, strong or self.modified)  # RFC 9110, 13.1.5
        if asked and self.ranges and fits:
            start = int(asked[1])
            if start >= len(content):
                to.send_response(416)
                to.send_header("Content-Range", f"bytes */{len(content)}")
                to.send_header("Content-Length", "0")
                to.end_headers()
                return
            to.send_response(206)
            to.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            to.send_response(200)
        body = content[start:]
        to.send_header("Content-Length", str(len(body)))
        if self.etag:
            to.send_header("ETag", self.etag)
        if self.modified:
            to.send_header("Last-Modified", self.modified)
        if self.encoding:
            to.send_header("Content-Encoding", self.encoding)
        to.end_headers()
        if self.drops:
            self.drops -= 1
            body = body[: self.drop_after]
        self.sent.append(len(body))
        with contextlib.suppress(ConnectionError):  # who does not want it hangs up
            if self.holds_at >= 0:
                to.wfile.write(body[: self.holds_at])
                body = body[self.holds_at :]
                self.goes_on.wait(60)
            to.wfile.write(body)


@pytest.fixture
def server(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    ours = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), ours.handler())
    ours.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield ours
    http.shutdown()
    thread.join()
    http.server_close()


def archive(server: Server, **more: Any) -> Archive:
    return Archive(f"{server.url}/a.bin", "a.bin", **more)


def get(wanted: Archive, folder: Path, pauses: tuple[float, ...] = (0, 0)) -> Path:
    return fetch(wanted, folder, pauses=pauses)


def names(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir()}


def test_a_fresh_file_is_whole_verified_and_recorded(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    wanted = archive(server, bytes=len(CONTENT), sha256=SHA, md5=hashlib.md5(CONTENT).hexdigest())
    file = fetch(wanted, tmp_path / "deep" / ".downloads", lambda *now: told.append(now))
    assert file.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert names(file.parent) == {"a.bin", "checksums.json"}
    record = json.loads((file.parent / "checksums.json").read_text())["a.bin"]
    assert record["sha256"] == SHA
    assert record["checksum_known_before"] is True


def test_a_dropped_connection_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.drops, server.drop_after = 1, 700_001
    file = get(archive(server), tmp_path)
    assert file.read_bytes() == CONTENT
    assert "Range" not in server.asked[0]
    assert server.asked[1]["Range"] == "bytes=700001-"
    assert server.asked[1]["If-Range"] == '"one"'
    assert server.sent == [700_001, len(CONTENT) - 700_001]


def test_tries_go_on_while_they_bring_more(server: Server, tmp_path: Path) -> None:
    server.drops, server.drop_after = 6, 300_000
    assert get(archive(server), tmp_path, (0,)).read_bytes() == CONTENT
    assert len(server.sent) == 7


def test_a_later_run_goes_on_where_the_first_stopped(server: Server, tmp_path: Path) -> None:
    server.drops, server.drop_after = 1, 500_000
    with pytest.raises(DataError, match=r"after 500,000 of 2,048,000.*by hand as '.*a\.bin'"):
        get(archive(server), tmp_path, ())
    assert (tmp_path / "a.bin.part").stat().st_size == 500_000
    assert not (tmp_path / "a.bin").exists()
    assert get(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.sent == [500_000, len(CONTENT) - 500_000]


def test_a_server_that_ignores_range_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.ranges, server.drops, server.drop_after = False, 1, 400_000
    assert get(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[1]["Range"] == "bytes=400000-"
    assert server.sent == [400_000, len(CONTENT)]


def test_a_changed_file_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.drops, server.drop_after = 1, 400_000
    with pytest.raises(DataError):
        get(archive(server), tmp_path, ())
    server.etag, server.files["/a.bin"] = '"two"', CONTENT[::-1]
    assert get(archive(server), tmp_path).read_bytes() == CONTENT[::-1]
    assert server.asked[1]["If-Range"] == '"one"'


@pytest.mark.parametrize(("etag", "sha256", "resumes"), [("", "", False), ("", SHA, True)])
def test_without_a_validator_only_a_published_checksum_allows_to_go_on(
    server: Server, tmp_path: Path, etag: str, sha256: str, resumes: bool
) -> None:
    server.etag, server.drops, server.drop_after = etag, 1, 400_000
    assert get(archive(server, sha256=sha256), tmp_path).read_bytes() == CONTENT
    assert ("Range" in server.asked[1]) is resumes


@pytest.mark.parametrize("etag", ["", 'W/"one"'])
def test_without_a_strong_tag_the_date_tells_whether_the_file_changed(
    server: Server, tmp_path: Path, etag: str
) -> None:
    server.etag, server.modified = etag, "Sun, 06 Nov 1994 08:49:37 GMT"
    server.drops, server.drop_after = 1, 400_000
    assert get(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[1]["If-Range"] == server.modified
    assert server.sent == [400_000, len(CONTENT) - 400_000]


def test_another_address_does_not_go_on_with_the_old_part(server: Server, tmp_path: Path) -> None:
    server.files["/b.bin"] = CONTENT[::-1]
    server.drops, server.drop_after = 1, 400_000
    with pytest.raises(DataError):
        get(archive(server), tmp_path, ())
    file = get(Archive(f"{server.url}/b.bin", "a.bin"), tmp_path)
    assert file.read_bytes() == CONTENT[::-1]
    assert "Range" not in server.asked[1]


def test_a_complete_part_needs_no_server(server: Server, tmp_path: Path) -> None:
    notes = {"url": f"{server.url}/a.bin", "validator": '"one"', "bytes": len(CONTENT)}
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    (tmp_path / "a.bin.part.json").write_text(json.dumps(notes))
    assert get(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_range_beyond_the_end_is_understood(server: Server, tmp_path: Path, length: int) -> None:
    notes = {"url": f"{server.url}/a.bin", "validator": '"one"', "bytes": 0}
    (tmp_path / "a.bin.part").write_bytes((CONTENT + b"extra")[:length])
    (tmp_path / "a.bin.part.json").write_text(json.dumps(notes))
    assert get(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.sent == ([] if length == len(CONTENT) else [len(CONTENT)])


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_a_wrong_checksum_is_refused_and_not_gone_on_with(
    server: Server, tmp_path: Path, wrong: dict[str, str]
) -> None:
    with pytest.raises(DataError, match=r"has the (SHA-256|MD5) .* but 0+ was expected: it was"):
        get(archive(server, **wrong), tmp_path)
    assert "a.bin" not in names(tmp_path)
    assert "a.bin.part" not in names(tmp_path)


def test_a_wrong_size_is_told_before_anything_is_read(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2,048,000 bytes, but 5 were expected"):
        get(archive(server, bytes=5), tmp_path)
    assert names(tmp_path) == set()


def test_wrong_content_of_the_right_size_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["/a.bin"] = b"\0" * len(CONTENT)
    with pytest.raises(DataError, match="SHA-256"):
        get(archive(server, bytes=len(CONTENT), sha256=SHA), tmp_path)


@pytest.mark.parametrize(("statuses", "tries"), [([503, 429], 3), ([500], 2)])
def test_a_busy_server_is_asked_again(
    server: Server, tmp_path: Path, statuses: list[int], tries: int
) -> None:
    server.statuses = statuses
    assert get(archive(server), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == tries


def test_a_missing_file_is_told_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="HTTP 404"):
        get(Archive(f"{server.url}/none", "a.bin"), tmp_path)
    assert len(server.asked) == 1


def test_an_encoded_answer_is_refused(server: Server, tmp_path: Path) -> None:
    server.encoding = "gzip"
    with pytest.raises(DataError, match="encoding gzip"):
        get(archive(server), tmp_path)


def test_a_redirect_leads_to_http_only(server: Server, tmp_path: Path) -> None:
    for address in ("file:///etc/hostname", "ftp://127.0.0.1/a"):
        server.redirect = address
        with pytest.raises(DataError, match="could not be downloaded"):
            get(archive(server), tmp_path)
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a", "a.zip"])
def test_only_http_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="is not http or https"):
        get(Archive(url, "a.bin"), tmp_path)


def test_no_network_is_one_sentence_with_the_place_to_put_the_file(
    server: Server, tmp_path: Path
) -> None:
    free = "http://127.0.0.1:1/a.bin"  # a port that nobody listens to
    with pytest.raises(DataError) as caught:
        get(Archive(free, "a.bin"), tmp_path)
    text = str(caught.value)
    assert free in text
    assert f"'{tmp_path / 'a.bin'}'" in text
    assert "\n" not in text


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_told_before_anything_is_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_000_000))
    with pytest.raises(DataError, match=r"needs 2\.0 MB more .* but 1\.0 MB are free"):
        get(archive(server), tmp_path)


def test_a_disk_that_fills_up_keeps_the_part(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(_: int) -> None:
        if (tmp_path / "a.bin.part").exists():
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        server.drops, server.drop_after = 1, 600_000
        with pytest.raises(DataError, match=r"cannot be written .*No space left.* is kept"):
            get(archive(server), tmp_path, ())
    assert get(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[1]["Range"] == "bytes=600000-"


def test_a_verified_file_is_neither_fetched_nor_read_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(archive(server, sha256=SHA), tmp_path)
    monkeypatch.setattr("vqazoo_datasets.download.digests", lambda _: pytest.fail("read again"))
    get(archive(server, sha256=SHA), tmp_path)
    assert len(server.asked) == 1


def test_a_file_placed_by_hand_is_accepted_if_it_is_right(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    get(archive(server, sha256=SHA), tmp_path)
    (tmp_path / "a.bin").write_bytes(b"wrong")
    with pytest.raises(DataError, match="delete it and run again"):
        get(archive(server, sha256=SHA), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"wrong"  # it is the user's
    assert server.asked == []


def test_without_a_published_checksum_the_first_download_is_compared(
    server: Server, tmp_path: Path
) -> None:
    file = get(archive(server), tmp_path)
    record = json.loads((tmp_path / "checksums.json").read_text())["a.bin"]
    assert (record["sha256"], record["checksum_known_before"]) == (SHA, False)
    file.unlink()
    server.files["/a.bin"], server.etag = b"other", '"two"'
    with pytest.raises(DataError, match="but the first download had"):
        get(archive(server), tmp_path)
    (tmp_path / "checksums.json").unlink()
    assert get(archive(server), tmp_path).read_bytes() == b"other"


def test_broken_notes_are_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "checksums.json").write_text("{")
    with pytest.raises(DataError, match=r"checksums\.json' cannot be read .*delete it"):
        get(archive(server), tmp_path)


# All together


def zipped(entries: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return content.getvalue()


def test_prepare_makes_a_data_root_and_does_nothing_twice(server: Server, tmp_path: Path) -> None:
    server.files = {"/a.zip": zipped({"images/1.jpg": b"picture"}), "/q.json": b"[]"}
    sha256 = hashlib.sha256(b"[]").hexdigest()
    wanted = (
        Archive(f"{server.url}/q.json", "q.json", sha256=sha256, unpack=False, what="questions"),
        Archive(f"{server.url}/a.zip", "a.zip", what="pictures", license="CC0"),
    )
    root = tmp_path / "root"
    said: list[str] = []
    prepare(wanted, root, said.append)
    assert (root / "q.json").read_bytes() == b"[]"
    assert (root / "images" / "1.jpg").read_bytes() == b"picture"
    assert any("a.zip: not verified against the publisher" in line for line in said)
    assert any("q.json: has the expected checksum" in line for line in said)
    assert any("pictures (CC0)" in line for line in said)
    prepare(wanted, root, said.append)
    (root / ".downloads" / "a.zip").unlink()  # to save room, once it is unpacked
    prepare(wanted, root, said.append)
    assert said[-1] == "pictures (CC0): unpacked before"
    assert len(server.asked) == 2
    shutil.rmtree(root / "images")
    prepare(wanted, root, said.append)
    assert len(server.asked) == 3
    assert (root / "images" / "1.jpg").exists()


def test_a_damaged_first_download_is_not_what_the_next_is_compared_with(
    server: Server, tmp_path: Path
) -> None:
    whole = zipped({"x": b"1"})
    server.files["/a.zip"] = b"<html>please log in</html>"
    wanted = (Archive(f"{server.url}/a.zip", "a.zip"),)
    with pytest.raises(DataError, match="truncated or damaged"):
        prepare(wanted, tmp_path / "root", lambda _: None)
    (tmp_path / "root" / ".downloads" / "a.zip").unlink()
    server.files["/a.zip"] = whole
    prepare(wanted, tmp_path / "root", lambda _: None)
    assert (tmp_path / "root" / "x").read_bytes() == b"1"


def test_checksums_are_made_where_md5_is_forbidden_for_security(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenSSL in FIPS mode does; the checksums that releases publish are no security."""
    made = hashlib.md5

    def fips(*content: bytes, usedforsecurity: bool = True) -> Any:
        if usedforsecurity:
            raise ValueError("[digital envelope routines] unsupported")
        return made(*content, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "md5", fips)
    (tmp_path / "abc").write_bytes(b"abc")
    assert digests(tmp_path / "abc")["md5"] == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321


def test_a_long_download_says_how_long_it_takes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 1000, 3))
    monkeypatch.setattr(vqazoo.progress, "monotonic", lambda: next(ticks))
    said: list[str] = []
    prepare([archive(server, sha256=SHA, unpack=False)], tmp_path / "root", said.append)
    (told,) = (line for line in said if "a second" in line)
    assert re.fullmatch(
        r"a\.bin: [\d.]+ [kM]B of 1\.8 MB in 3 seconds, .* [\d.]+ seconds left\.", told
    )
