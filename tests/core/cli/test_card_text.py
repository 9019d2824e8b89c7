"""`vqazoo info NAME` prints a model's card as text that fits the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vqazoo.catalogue import catalogue
from vqazoo.cli import card_text, run
from vqazoo.cli.card_text import render

MODEL = "tiny-clip-lstm-easyvqa"
CARD = """---
license: mit
---

# A model

<!-- vqazoo:metrics -->

Words that are long enough to be wrapped at a width of forty columns, `code` and **strong** too.

| metric | value | empty | signature |
| --- | --- | --- | --- |
| accuracy | 99.97% |  | `accuracy\\|v1\\|data:easy-vqa\\|split:test` |
| f1 | 5.00% |  | `f1\\|v1` |

<details>
<summary>More</summary>

- one item that is long enough to be wrapped too
- see [the docs](https://example.org)

</details>

<!-- /vqazoo:metrics -->

## How to run

```sh
vqazoo ask   "a <b> | c"
```

![answers of the test split](answers.png)
"""


def test_in_a_pipe_nothing_is_cut_or_wrapped() -> None:
    assert render(CARD).splitlines() == [
        "A model",
        "=======",
        "",
        "Words that are long enough to be wrapped at a width of forty columns, code and strong "
        "too.",
        "",
        "metric    value   signature",
        f"--------  ------  {'-' * 36}",
        "accuracy  99.97%  accuracy|v1|data:easy-vqa|split:test",
        "f1        5.00%   f1|v1",
        "",
        "More",
        "",
        "- one item that is long enough to be wrapped too",
        "- see the docs (https://example.org)",
        "",
        "How to run",
        "----------",
        "",
        '    vqazoo ask   "a <b> | c"',
        "",
        "[picture: answers.png, answers of the test split]",
    ]


def test_a_terminal_gets_lines_that_fit() -> None:
    lines = render(CARD, 40).splitlines()
    assert max(map(len, lines)) == 40
    assert "accuracy  99.97%  accuracy|v1|data:easy…" in lines
    assert lines[3:6] == [
        "Words that are long enough to be wrapped",
        "at a width of forty columns, code and",
        "strong too.",
    ]
    assert "- one item that is long enough to be" in lines
    assert "  wrapped too" in lines


def test_cells_of_words_are_wrapped_in_their_column() -> None:
    table = "| part | what it is |\n| --- | --- |\n| head | writes the answer token by token |\n"
    table += "| fusion | x |\n"
    assert render(table, 26).splitlines() == [
        "part    what it is",
        "------  ------------------",
        "head    writes the answer",
        "        token by token",
        "fusion  x",
    ]


def test_only_headings_are_emphasised() -> None:
    shown = render(CARD, 40, bold=True)
    assert [line for line in shown.splitlines() if "\x1b" in line] == [
        "\x1b[1mA model\x1b[0m",
        "\x1b[1mMore\x1b[0m",
        "\x1b[1mHow to run\x1b[0m",
    ]


def test_control_characters_of_a_fetched_card_are_left_out() -> None:
    assert render("# a\x1b[2J\x07b\r\n\r\ntext\x9b31m") == "a[2Jb\n=====\n\ntext31m"


@pytest.mark.parametrize("text", ["", "---\n---\n", "|", "```\nopen", "# ", "| a |\n| b | c |"])
def test_any_text_is_shown(text: str) -> None:
    for width in (0, 1, 30):
        assert "---\n---" not in render(text, width)


@pytest.mark.parametrize(
    ("tty", "colour", "bold"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_bold_needs_a_terminal_that_wants_colour(
    tty: bool,
    colour: str,
    bold: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    monkeypatch.setenv("NO_COLOR", colour)
    monkeypatch.setenv("COLUMNS", "40")
    card_text.print_card(CARD)
    shown = capsys.readouterr().out
    assert ("\x1b[1m" in shown) is bold
    assert ("…" in shown) is tty


def test_info_prints_the_whole_card_of_a_zoo_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", MODEL, "--all"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{MODEL}\n{'=' * len(MODEL)}\n")
    for hidden in ("<!--", "<details>", "\x1b", "library_name", "| ---", "```"):
        assert hidden not in shown
    assert "[picture: answers.png" in shown
    assert run(["info", f"dir:{catalogue() / MODEL}", "--all"]) == 0
    assert capsys.readouterr().out == shown


def test_info_begins_with_what_it_answers_and_says_how_to_ask(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["info", MODEL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 30
    assert "accuracy (95% interval" in lines[3]
    assert "head           lstm" in lines
    assert lines[-2:] == [
        f'Ask it:  vqazoo ask {MODEL} PICTURE "QUESTION"',
        f"All of its card:  vqazoo info {MODEL} --all",
    ]


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_info_in_a_real_terminal_fits(tmp_path: Path) -> None:
    import pty

    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"from vqazoo.cli import main; main(['info', {MODEL!r}, '--all'])"],
        stdout=slave,
        stdin=subprocess.DEVNULL,
        env={**environment, "COLUMNS": "90"},
    )
    os.close(slave)
    seen = b""
    while chunk := _read(master):
        seen += chunk
    assert process.wait(60) == 0
    text = seen.decode().replace("\r\n", "\n")
    assert f"\x1b[1m{MODEL}\x1b[0m" in text
    tables = [line for line in text.split("\n") if line.startswith(("accuracy  ", "head  "))]
    assert tables
    assert all(len(line) <= 90 for line in tables)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux says so when the other side was closed
        return b""
