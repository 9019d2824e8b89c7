"""The command line: what it imports, what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vqazoo import __version__, cli
from vqazoo.cli import VERBS, run
from vqazoo.errors import DataError
from vqazoo.registry import load_object, registry

HEAVY = ("torch", "numpy", "timm", "open_clip", "transformers", "PIL", "huggingface_hub")


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, **options
    )


# ---- start-up -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import vqazoo; vqazoo.__version__; vqazoo.list_models()",
        "from vqazoo.cli import run; assert run(['--help']) == 0",
        "from vqazoo.cli import run; assert run(['--version']) == 0",
        "from vqazoo.cli import run; assert run(['list']) == 0",
        "from vqazoo.cli import run; assert run(['list', '--json']) == 0",
        "from vqazoo.cli import run\n"
        "assert run(['list', 'fusions', '--compatible-with', 'head=lstm']) == 0",
        "from vqazoo.cli import run; assert run(['info', 'easy-vqa']) == 0",
        "from vqazoo.cli import run; assert run(['train', '--help']) == 0",
        "from vqazoo.cli import run; run(['plugins', '--quick'])",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    process = python(f"{code}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules])")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "[]"


def test_the_check_above_can_fail() -> None:
    process = python(
        f"import vqazoo.media.images, sys\nprint([m for m in {HEAVY} if m in sys.modules])"
    )
    assert "torch" in process.stdout


# ---- help -----------------------------------------------------------------------------------


def test_help_shows_every_verb_and_each_verb_has_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for name, verb in VERBS.items():
        assert f"\n  {name} " in shown.out
        assert verb.summary in shown.out
        assert load_object(verb.build).name == name
        assert run([name, "--help"]) == 0
        assert f"Usage: vqazoo {name}" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"vqazoo, version {__version__}\n"


# ---- how it ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Unknown command 'trian'. Did you mean 'train'"),
        (["zzzzzz"], "Unknown command 'zzzzzz'. Run 'vqazoo --help' to see all."),
        (["list", "--jsom"], "No such option"),
        (["train", "--encodr", "x"], "--encoder"),
        (["--verison"], "--version"),
        (["list", "encoder"], "'encoders'"),
        (["list", "datasets", "--compatible-with", "head=lstm"], "not datasets"),
        (["ask"], "Missing argument"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_hint(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err


def test_an_error_is_one_line_on_stderr_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VQAZOO_DEBUG", raising=False)
    assert run(["info", "easy-vka"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Error: Unknown model or part 'easy-vka'. Did you mean 'easy-vqa'?")
    assert shown.err.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    code = "from vqazoo.cli import main; main(['info', 'easy-vka'])"
    plain = python(code, env={**os.environ, "VQAZOO_DEBUG": "0"})
    debug = python(code, env={**os.environ, "VQAZOO_DEBUG": "1"})
    assert plain.returncode == debug.returncode == 1
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert "UnknownNameError: Unknown model or part" in debug.stderr


def test_other_exceptions_are_bugs_and_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(kind: str) -> list[str]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(registry, "names", broken)
    with pytest.raises(ZeroDivisionError):
        run(["list", "fusions"])


def test_an_interrupt_ends_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(kind: str) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "names", interrupted)
    assert run(["list", "fusions"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


@pytest.mark.skipif(os.name == "nt", reason="signals work otherwise there")
@pytest.mark.parametrize(
    ("sent", "code_of_it", "words"),
    [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Interrupted by SIGTERM.")],
)
def test_a_real_interrupt_prints_no_traceback(
    tmp_path: Path, sent: signal.Signals, code_of_it: int, words: str
) -> None:
    code = (
        "import signal, time, vqazoo.cli.list as module, pathlib\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
        "def wait(kind):\n"
        f"    pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "    time.sleep(60)\n"
        "module.registry.names = wait\n"
        "from vqazoo.cli import main; main(['list', 'fusions'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code_of_it
    assert err.strip() == words


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_silent(unbuffered: str) -> None:
    command = f'"{sys.executable}" -c "from vqazoo.cli import main; main([\'list\'])" | true'
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, env=environment
    )
    assert process.stderr == ""


# ---- list -----------------------------------------------------------------------------------


def test_list_shows_all_kinds_or_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list"]) == 0
    shown = capsys.readouterr().out
    for title in ("models:", "encoders:", "fusions:", "heads:", "datasets:"):
        assert title in shown
    assert run(["list", "datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "datasets:"
    assert [line.split()[0] for line in lines[1:]] == registry.names("dataset")
    assert all(f"vqazoo {__version__}" in line for line in lines[1:])
    starts = {line.index("vqazoo ") for line in lines[1:]}
    assert len(starts) == 1  # columns are aligned


def test_list_as_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == [
        "models",
        "encoders",
        "fusions",
        "heads",
        "datasets",
        "families",
        "metrics",
    ]
    assert [entry["name"] for entry in document["fusions"]] == registry.names("fusion")
    for entry in document["datasets"]:
        assert entry["from"] == f"vqazoo {__version__}"
        assert entry["summary"] == registry.manifest("dataset", entry["name"]).summary


def test_list_of_compatible_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--compatible-with", "head=lstm", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["encoders", "fusions", "heads"]
    assert [entry["name"] for entry in document["heads"]] == ["lstm"]
    for entry in document["fusions"]:
        manifest = registry.manifest("fusion", entry["name"])
        assert manifest.provides == registry.manifest("head", "lstm").requires  # type: ignore[attr-defined]
    assert document["fusions"]
    assert document["encoders"]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("lstm", "takes KIND=NAME, but got 'lstm'"),
        ("haed=lstm", "Did you mean 'head'?"),
        ("head=", "takes KIND=NAME"),
        ("head=ltsm", "Unknown head 'ltsm'. Did you mean 'lstm'?"),
    ],
)
def test_a_misspelt_condition_is_refused(
    capsys: pytest.CaptureFixture[str], assignment: str, said: str
) -> None:
    assert run(["list", "fusions", "--compatible-with", assignment]) == 1
    assert said in capsys.readouterr().err


def test_models_are_listed_with_what_they_are_and_whether_they_have_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["list", "models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert re.search(
        r"packaged, \d+\.\d MB +tiny-clip \+ concat \+ lstm on easy-vqa: accuracy \d+\.\d\d%",
        lines["tiny-clip-lstm-easyvqa"],
    )
    assert "no weights yet" in lines["clip-lstm-vizwiz"]
    assert lines["clip-lstm-vizwiz"].endswith("run its recipe")


def test_main_exits_with_the_code_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise DataError("a row is bad.")

    monkeypatch.setattr(cli.vqazoo, "main", failing)
    monkeypatch.delenv("VQAZOO_DEBUG", raising=False)
    with pytest.raises(SystemExit) as caught:
        cli.main(["list"])
    assert caught.value.code == 1
