"""The command line in a shell: completion, JSON, terminals, pipes, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pexpect
import pytest

from tests.support.warm import python
from vqazoo.cli import run, vqazoo

COMMAND = (
    "import signal, sys\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
    "from vqazoo.cli import main; main(sys.argv[1:])"
)
ESCAPE = "\x1b["
COLOUR = re.compile(r"\x1b\[3\dm")
RUN_UNTIL_STOPPED = {"demo", "serve"}


def leaves(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every verb that is no group, with its whole name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*above, name))
        else:
            yield " ".join((*above, name)), command


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a verb prints where standard output is a terminal of 100 columns."""
    known = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    child = pexpect.spawn(
        sys.executable,
        ["-c", COMMAND, *arguments],
        dimensions=(50, 100),
        encoding="utf-8",
        env={**known, "TERM": "xterm-256color", **environment},
        timeout=300,
    )
    text: str = child.read()
    child.close()
    assert child.exitstatus == 0, text
    return text


# ---- JSON -----------------------------------------------------------------------------------


def test_every_verb_that_prints_can_print_json():
    found = dict(leaves(vqazoo))
    without = {
        name
        for name, command in found.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == RUN_UNTIL_STOPPED
    assert {"train", "recipe show", "data prepare", "features verify", "push"} <= found.keys()


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["check", "model_cards/tiny-clip-gru-easyvqa"], "image_encoder"),
        (["recipe", "show", "tiny-clip-gru-easyvqa"], "training"),
        (["completion", "fish"], "install"),
        (["plugins", "--quick"], "vqazoo 0.1.0"),
        (["info", "lstm"], "source"),
    ],
)
def test_json_is_one_document_and_nothing_else(arguments, key, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    assert run([*arguments, "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert key in json.loads(shown)


def test_training_tells_its_best_model_and_score_as_json(table, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = [
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "mlp",
        "--data",
        "table",
        "--quiet",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=1",
    ]
    assert run([*arguments, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["best"] == str(out / "best")
    kept = json.loads((out / "best/metrics.json").read_text())
    assert told["metrics"] == {metric["name"]: metric["value"] for metric in kept}
    assert run([*arguments, "--dry-run", "--json"]) == 0
    filled = json.loads(capsys.readouterr().out)
    assert filled["config"]["training"]["epochs"] == 1
    assert any(line.startswith("head") for line in filled["shapes"])


# ---- terminals and pipes ----------------------------------------------------------------------


def test_a_table_is_ruled_on_a_terminal_and_plain_in_a_pipe(capsys):
    shown = on_a_terminal("list", "heads")
    assert "─────" in shown
    assert COLOUR.search(shown)
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in shown.splitlines()) <= 100
    assert run(["list", "heads"]) == 0
    plain = capsys.readouterr().out
    assert ESCAPE not in plain
    assert "─" not in plain
    assert re.search(r"^  lstm +vqazoo 0\.1\.0  writes the answer", plain, re.MULTILINE)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_the_user_wants_none(environment):
    shown = on_a_terminal("list", "heads", **environment)
    assert "─────" in shown
    assert not COLOUR.search(shown)


def test_brackets_in_a_cell_are_text_and_no_markup(monkeypatch, capsys):
    from vqazoo.cli.output import print_table

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(("a", "b"), [("x", "[bold]kept[/bold]")])
    assert "[bold]kept[/bold]" in capsys.readouterr().out


def test_training_shows_a_bar_on_a_terminal_and_leaves_plain_lines(table, tmp_path):
    shown = on_a_terminal(
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "mlp",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=2",
        "--out",
        str(tmp_path / "run"),
    )
    assert "━" in shown
    assert re.search(r"epoch 2/2 +loss \d", shown)


# ---- Ctrl-C -----------------------------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Interrupted by SIGTERM")],
)
def test_a_stopped_run_is_one_that_the_told_command_goes_on_with(
    table, tmp_path, sent, code, words
):
    out = tmp_path / "run"
    arguments = [
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "mlp",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--out",
        str(out),
    ]
    child = python(
        COMMAND,
        *(*arguments, "--set", "training.epochs=100000"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("epoch 3/"):
            break
    child.send_signal(sent)
    _, told = child.communicate(timeout=300)
    assert child.returncode == code
    assert "Traceback" not in told
    last = told.splitlines()[-1]
    assert not (out / ".lock").exists()
    assert last == (
        f"{words}: go on after the last whole epoch with  vqazoo train --resume --out {out}"
    )
    done = len((out / "log.jsonl").read_text().splitlines())
    command = shlex.split(last.split("with  vqazoo ")[1])
    again = python(COMMAND, *command, stderr=subprocess.PIPE)
    assert again.stderr is not None
    resumed = next(line for line in again.stderr if line.startswith("Resumed"))
    again.kill()
    again.wait()
    # The state is saved after the log, so the last epoch of the log may have to be repeated.
    assert resumed in (f"Resumed after epoch {done}.\n", f"Resumed after epoch {done - 1}.\n")


def test_ctrl_c_before_the_first_epoch_says_so(tmp_path):
    from vqazoo.cli.train import how_to_resume

    assert how_to_resume(tmp_path, "vqazoo train") == (
        "no epoch was finished yet, so start again with the same command."
    )


# ---- completion -------------------------------------------------------------------------------


@pytest.fixture
def command_on_path(tmp_path, monkeypatch) -> None:
    """A `vqazoo` that runs this interpreter, found first on the path."""
    script = tmp_path / "bin" / "vqazoo"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom vqazoo.cli import main\nmain()\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))


START = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(vqazoo completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -u; eval "$(vqazoo completion zsh)"'),
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("vqazoo recipe run clip-lstm-v", "clip-lstm-vizwiz"),
        ("vqazoo compl", "completion"),
        ("vqazoo train --head lst", "lstm"),
        ("vqazoo ask tiny-clip-mlp-s", "tiny-clip-mlp-sortofclevr"),
    ],
)
def test_tab_completes_in_a_fresh_shell(shell, typed, completed, command_on_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    arguments, setup = START[shell]
    child = pexpect.spawn(
        shell,
        arguments,
        encoding="utf-8",
        timeout=300,
        dimensions=(24, 200),
        env={**os.environ, "TERM": "dumb", "PS1": "> "},
    )
    child.sendline(f"{setup}; echo re''ady")
    child.expect("ready")
    child.send(f"{typed}\t")
    child.expect(re.escape(completed.removeprefix(typed.rpartition(" ")[2])))
    child.close(force=True)


def test_fish_completes_too(command_on_path, tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    done = subprocess.run(
        [
            "fish",
            "--no-config",
            "-c",
            "vqazoo completion fish | source; complete -C 'vqazoo train --head lst'",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == ["lstm"]
