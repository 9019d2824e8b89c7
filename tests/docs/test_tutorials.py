"""The tutorials on heads and on your own data work as they are written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.pages import blocks, install, vqazoo

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def acme(tmp_path_factory) -> Path:
    """The tutorial's files, laid out as pip would install them."""
    folder = tmp_path_factory.mktemp("acme")
    install("docs/how-to/add-a-head.md", folder)
    return folder


def test_the_tutorial_head_is_listed_with_its_distribution(acme):
    listed = vqazoo("list", "heads", PYTHONPATH=str(acme))
    assert re.search(r"nearest\s+acme-heads 1\.0\s+nearest answer vector", listed.stdout)


def test_the_tutorial_head_trains_evaluates_and_keeps_the_contract(acme, table, tmp_path):
    out = tmp_path / "run"
    done = vqazoo(
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "nearest",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=2",
        "--out",
        str(out),
        PYTHONPATH=str(acme),
    )
    assert done.returncode == 0, done.stderr
    done = vqazoo("check", str(out / "best"), PYTHONPATH=str(acme))
    assert "head           nearest" in done.stdout
    test = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_nearest.py"],
        cwd=acme,
        env={**os.environ, "PYTHONPATH": str(acme)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in test.stdout, test.stdout


def test_without_the_plugin_its_checkpoint_names_what_is_missing(acme, table, tmp_path):
    out = tmp_path / "run"
    vqazoo(
        "train",
        "--encoder",
        "tiny-clip",
        "--head",
        "nearest",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=1",
        "--out",
        str(out),
        PYTHONPATH=str(acme),
    )
    done = vqazoo("check", str(out / "best"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Unknown head 'nearest'.")


def test_the_own_data_page_works_as_written(tmp_path, picture, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shown = next(
        one.content for one in blocks("docs/how-to/own-data.md", "csv") if "answer" in one.content
    )
    names = re.findall(r"photos/\w+\.jpg", shown)
    for name in names:
        Image.open(picture).save(tmp_path / name)
    (tmp_path / "train.csv").write_text(shown)
    (tmp_path / "test.csv").write_text(shown)
    commands = next(
        one.content
        for one in blocks("docs/how-to/own-data.md", "sh")
        if one.content.startswith("vqazoo train")
    )
    for line in commands.replace("\\\n", " ").splitlines():
        done = vqazoo(*shlex.split(line)[1:])
        assert done.returncode == 0, done.stderr
