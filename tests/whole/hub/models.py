"""Helpers for the tests of push and pull: digests, answers, commands, and fresh processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.whole.hub.answers import Answer
from tests.whole.hub.repositories import Refusal
from tests.whole.hub.server import StandInHub
from vqazoo.cli import run
from vqazoo.model import VQAModel

NAME = "tiny-clip-mlp-table"
REPO = f"ada/{NAME}"
QUESTION = "what shape is it?"
FILES = {
    "config.json",
    "model.safetensors",
    "answers.json",
    "README.md",
    "metrics.json",
    "recipe.toml",
    "environment.json",
    "log.jsonl",
    "loss.png",
}
MAIN = "from vqazoo.cli import main; main()"
DIGEST = """
import hashlib, sys, vqazoo
def digest(model):
    told = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        told.update(name.encode() + tensor.numpy().tobytes())
    return told.hexdigest()
def shown(model, picture, question):
    answer = model.answer(picture, question, top_k=3)
    return repr([(one.text, round(one.score, 6)) for one in (answer, *answer.alternatives)])
"""
LOAD = f"""{DIGEST}
model = vqazoo.load(sys.argv[1])
print(digest(model), shown(model, sys.argv[2], {QUESTION!r}))
"""


def digest(model: VQAModel) -> str:
    """SHA-256 over names and values of all tensors."""
    told = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        told.update(name.encode() + tensor.numpy().tobytes())
    return told.hexdigest()


def answers(model: VQAModel, picture: Path) -> str:
    """The three best answers and their scores, as `LOAD` prints them."""
    answer = model.answer(picture, QUESTION, top_k=3)
    return repr([(one.text, round(one.score, 6)) for one in (answer, *answer.alternatives)])


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def process(
    hub: StandInHub,
    home: Path,
    code: str,
    *arguments: str | Path,
    token: str | None = None,
    **variables: str,
) -> subprocess.Popen[str]:
    """A fresh Python that uses the stand-in with its own, empty home."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **hub.environment(home, token), "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(running: subprocess.Popen[str]) -> str:
    """What a process that succeeds prints."""
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err[-3000:]
    return out.strip()


def told(arguments: Sequence[str | Path], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that succeeds prints."""
    code = run(list(map(str, arguments)))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def refused(arguments: Sequence[str | Path], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command fails with."""
    capsys.readouterr()
    assert run(list(map(str, arguments))) == 1
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if not line.startswith(("Uploading", "With "))]
    assert len(errors) == 1, err
    assert errors[0].startswith("Error: ")
    assert "Traceback" not in err + out
    return errors[0].removeprefix("Error: ")


def upload(hub: StandInHub, folder: Path, repo: str = REPO, **options: bool) -> str:
    """A repository with all files of a folder, made behind the client's back; its commit."""
    return hub.add_repo(repo, contents(folder), **options)


def unlike(files: Mapping[str, bytes], others: Mapping[str, bytes]) -> set[str]:
    """Names of files that differ or are in one of both only."""
    return {name for name in files.keys() | others if files.get(name) != others.get(name)}


def wait_for(condition: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    """Until something is so, while a process runs."""
    for _ in range(1200):
        if condition():
            return
        assert running.poll() is None, running.communicate()[1][-2000:]
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def lose_answer(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next commit, but answer 503."""
    real, left = Answer.commit, [1]

    def commit(self: Answer, repo: str, revision: str) -> tuple:
        done = real(self, repo, revision)
        if left[0]:
            left[0] -= 1
            raise Refusal(503, "the answer is lost")
        return done

    monkeypatch.setattr(Answer, "commit", commit)
