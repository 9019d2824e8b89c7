"""The verb `vqazoo demo`: its mistakes are one sentence, before anything heavy is imported."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_socket

import vqazoo
from vqazoo.cli import run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny-clip-lstm-easyvq"], "Unknown model 'tiny-clip-lstm-easyvq'. Did you mean"),
        (["clip-lstm-vizwiz"], "has no weights yet"),
        (["--flagged", "flagged.txt"], "a file that ends in .csv was expected"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--port", "0", *arguments]) == 1
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not list(tmp_path.iterdir())


def test_a_model_that_copies_words_is_told_before_the_page_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio", reason="the page is made with Gradio")
    model = vqazoo.create(encoder="tiny-clip", head="m4c", answers=["zor", "kip"])
    model.save(tmp_path / "signs")
    assert run(["demo", "--port", "0", f"dir:{tmp_path / 'signs'}"]) == 1
    printed = capsys.readouterr()
    assert "copies words that a reader of text found" in printed.err
    assert "vqazoo ask --ocr-tokens" in printed.err
    assert printed.out == ""


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("vqazoo_demo.command.find_spec", lambda name: None)
    assert run(["demo"]) == 1
    assert "pip install 'vqazoo[demo]'" in capsys.readouterr().err


def test_no_share_link_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--share"]) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_taken_port_is_told(host: str) -> None:
    pytest.importorskip("gradio", reason="the page is made with Gradio")
    from vqazoo.errors import ConfigError
    from vqazoo_demo.server import listen

    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)
    with listen(host, 0) as taken:
        port = taken.getsockname()[1]
        assert taken.family in (socket.AF_INET, socket.AF_INET6)
        with pytest.raises(ConfigError, match=f"{host}, port {port} cannot.*--port"):
            listen(host, port)


def test_the_help_imports_neither_gradio_nor_torch() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom vqazoo.cli import run\nassert run(['demo', '--help']) == 0\n"
            "print(sorted({'gradio', 'torch', 'numpy', 'PIL'} & set(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.endswith("[]\n")
    assert "--flagged FILE" in told.stdout
