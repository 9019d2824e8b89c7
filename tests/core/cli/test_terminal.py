"""What others wrote never drives the terminal: it is written out, in every verb and every error."""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vqazoo
from vqazoo.cli import run
from vqazoo.cli.output import guard_libraries, print_json, print_table, say
from vqazoo.cli.terminal import UNSAFE, printable, printable_json

ROOT = Path(__file__).parents[3]
# A title, a clear screen, a one-byte CSI, an overwritten line, a turned text, a false line.
EVIL = [
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "\x9b31m",
    "ok\rno",
    "\u202egnp.exe",
    "a\nError: b",
    "\udcff",
    "\u2066x\u2069",
    "\x00",
    "\x7f",
    "\u200f",
    "\ufeff",
    "\U000e0041",
]
FAIR = ["naïve", "日本語", "שלום", "नमस्ते\u200dक", "👩\u200d🚀", "it's 100%", "[bold]x[/bold]"]


@pytest.fixture(params=[False, True], ids=["pipe", "terminal"])
def terminal(request, monkeypatch, capsys) -> bool:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: request.param, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    return request.param


@pytest.mark.parametrize("text", EVIL)
def test_a_line_a_table_and_a_document_hold_nothing_that_a_terminal_obeys(
    text, terminal, capsys
) -> None:
    say(f"Wrote '{text}'.")
    say(f"a\n{text.replace(chr(10), '')}", lines=True)
    print_table((text,), [(text,)], text)
    print_json({"answer": text})
    out = capsys.readouterr().out
    assert UNSAFE.sub(lambda found: "" if found[0] == "\n" else "!", out) == out.replace("\n", "")
    assert "\nError: b" not in out


@pytest.mark.parametrize("text", FAIR)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert printable_json(json.dumps(text, ensure_ascii=False)) == json.dumps(
        text, ensure_ascii=False
    )


@given(st.text(st.characters()))
def test_json_says_the_same_as_before(text: str) -> None:
    shown = printable_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(shown) == {text: [text]}
    assert not UNSAFE.search(shown)


@pytest.mark.parametrize("text", EVIL)
def test_errors_show_a_name_that_would_drive_the_terminal(text: str, capsys, tmp_path) -> None:
    if "\x00" not in text:  # which no argument of a process holds
        name = f"dir:{tmp_path}/{text}"
        assert run(["ask", name, "a.png", "what?"]) == 1
        assert run(["check", f"{tmp_path}/{text}"]) == 1
    assert run(["list", f"--{text}"]) == 2
    error = capsys.readouterr().err
    assert UNSAFE.sub(lambda found: "" if found[0] == "\n" else "!", error) == error.replace(
        "\n", ""
    )


@pytest.fixture(scope="module")
def evil_model(tmp_path_factory) -> Path:
    """A model whose answers drive a terminal."""
    folder = tmp_path_factory.mktemp("evil") / "model"
    answers = [text for text in EVIL if text != "\udcff"]
    vqazoo.create(encoder="tiny-clip", head="mlp", answers=answers).save(folder)
    return folder


@pytest.mark.parametrize("options", [[], ["--top-k", "9"], ["--json"], ["--top-k", "9", "--json"]])
def test_an_answer_never_reaches_the_terminal_as_it_is(
    evil_model, picture, options, terminal, capsys
) -> None:
    assert run(["ask", f"dir:{evil_model}", str(picture), "what\x1b[2J?", *options]) == 0
    out, err = capsys.readouterr()
    assert not UNSAFE.search((out + err).replace("\n", ""))
    if "--json" in options:
        known = vqazoo.load(f"dir:{evil_model}").answers.texts
        assert {one["text"] for one in json.loads(out)["answers"]} <= set(known)
    else:
        assert len(out.splitlines()) == (9 if options else 1)


def test_a_tensor_with_such_a_name_is_told_and_not_sent(evil_model, tmp_path, capsys) -> None:
    import hashlib
    import shutil

    from safetensors.torch import load_file, save

    shutil.copytree(evil_model, folder := tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    content = save({f"{name}\x1b[31m\u202e": tensor for name, tensor in tensors.items()})
    (folder / "model.safetensors").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"]["model.safetensors"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    assert run(["check", str(folder)]) == 1
    error = capsys.readouterr().err
    assert r"\x1b[31m\u202e" in error
    assert not UNSAFE.search(error.replace("\n", ""))


def test_a_message_is_one_line_also_where_a_library_wrote_several(capsys, monkeypatch) -> None:
    from vqazoo.errors import WeightsError

    def fails() -> None:
        raise WeightsError("It does not fit (first:\n\tsecond): get it again.")

    monkeypatch.setattr(click.Group, "main", lambda *_, **__: fails())
    assert run([]) == 1
    assert capsys.readouterr().err == "Error: It does not fit (first: second): get it again.\n"


def test_what_libraries_warn_and_log_is_written_out_too(monkeypatch, capsys) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    before = logging.getLogRecordFactory()
    try:
        guard_libraries()
        assert "\x1b" not in warnings.formatwarning("a\x1b[2J", UserWarning, "file.py", 1)
        record = logging.getLogRecordFactory()("x", 30, "f", 1, "b %s", ("\u202e\x9b",), None)
        assert record.getMessage() == r"b \u202e\x9b"
    finally:
        logging.setLogRecordFactory(before)


def test_a_failure_of_the_demo_is_told_without_what_a_visitor_wrote_to_the_terminal(caplog) -> None:
    from vqazoo_demo.asking import sentence

    try:
        raise KeyError("what\x1b[2J\u202e?")
    except KeyError as error:
        shown = sentence(error, "tiny")
    assert not UNSAFE.search((caplog.text + shown).replace("\n", ""))
    assert "KeyError" in caplog.text
    assert "test_terminal.py" in caplog.text


def test_every_verb_prints_through_one_function() -> None:
    allowed = {"vqazoo/cli/output.py": 2, "vqazoo/cli/card_text.py": 1}  # the latter cleans itself
    found = {}
    for folder in ("vqazoo", "plugins"):
        for file in (ROOT / folder).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            sent = re.findall(
                r"(?:click\.s?echo|click\.secho|(?<![\w.])print|sys\.std(?:out|err)\.write)\(",
                file.read_text(encoding="utf-8"),
            )
            if sent and not name.startswith("plugins/vqazoo_export/runner/"):
                found[name] = len(sent)
    assert found.pop("vqazoo/card/sections.py") == 2  # in examples of Python
    assert found.pop("plugins/vqazoo_serve/settings.py") == 1  # in a hint
    assert found == allowed
