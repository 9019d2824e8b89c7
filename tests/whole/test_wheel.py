"""A wheel, installed where no source checkout is, lists, loads, answers and trains."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.whole.release.contents import faults, members
from vqazoo.catalogue import PACKAGED, entries

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel; the libraries it needs are borrowed from this one."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Path entries of a .pth are not searched for further .pth files, so the editable install of
    # this environment stays out.
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def run(python: Path, script: str, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-c", script],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_models_and_the_weights(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packaged = [name for name, entry in entries().items() if entry.weights == PACKAGED]
    held = {f"vqazoo/model_cards/{name}/model.safetensors" for name in packaged}
    assert held <= set(names)
    assert "vqazoo/model_cards/catalogue.json" in names
    assert "vqazoo_tiny_clip/weights/model.safetensors" in names
    assert "vqazoo/py.typed" in names
    assert {
        "vqazoo/card/card.md",
        "vqazoo/evaluation/mistakes/page.html",
        "vqazoo_demo/replies.html",
        "vqazoo_serve/page.html",
    } <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "plugins/"))]


def test_the_wheel_is_fit_to_be_released(wheel):
    assert faults(members(wheel)) == []


def test_the_installed_wheel_is_what_runs(python, tmp_path):
    where = run(python, "import vqazoo; print(vqazoo.__file__)", tmp_path)
    assert str(ROOT) not in where


def test_the_installed_wheel_lists_loads_answers_and_trains(python, tmp_path, table, picture):
    listed = run(python, "from vqazoo.cli import main; main(['list', 'models'])", tmp_path)
    assert "tiny-clip-lstm-easyvqa" in listed
    said = run(
        python,
        "import vqazoo\nfrom vqazoo.catalogue import entries\n"
        "for name in [n for n, e in entries().items() if e.weights == 'packaged']:"
        f" print(name, vqazoo.load(name).answer({str(picture)!r}, 'is there a circle?'))",
        tmp_path,
    )
    answers = dict(line.split(" ", 1) for line in said.splitlines())
    assert set(answers) == {name for name, entry in entries().items() if entry.weights == PACKAGED}
    assert answers["tiny-clip-lstm-easyvqa"] in ("yes", "no")
    run(
        python,
        "import vqazoo; vqazoo.train(out='run', encoder='tiny-clip', head='mlp', data={'type':"
        f"'table', 'args': {{'train': {str(table)!r}}}}}, set=['training.epochs=1'])",
        tmp_path,
    )
    assert (tmp_path / "run/best/config.json").is_file()
