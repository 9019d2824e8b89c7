"""What the docs show works: the tutorial as a distribution of its own, and the Python in README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LANGUAGES = "python|toml|sh|csv|json"


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, content) of every code block of a page."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```({LANGUAGES})\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def vqazoo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from vqazoo.cli import main; main(sys.argv[1:])"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def acme(tmp_path_factory) -> Path:
    """The tutorial's files, laid out as pip would install them."""
    folder = tmp_path_factory.mktemp("acme")
    for _, content in blocks("docs/add-a-head.md"):
        if name := re.match(r"# (\S+\.(?:py|toml))\n", content):
            file = folder / name[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"acme_heads-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = project["entry-points"]["vqazoo.heads"]
    lines = ["[vqazoo.heads]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_the_tutorial_head_is_listed_with_its_distribution(acme):
    listed = vqazoo("list", "heads", PYTHONPATH=str(acme))
    assert re.search(r"nearest\s+acme-heads 1\.0\s+nearest answer vector", listed.stdout)


def test_the_tutorial_head_trains_evaluates_and_keeps_the_contract(acme, table, tmp_path):
    out = tmp_path / "run"
    done = vqazoo(
        "train", "--encoder", "tiny-clip", "--head", "nearest", "--data", "table",
        "--set", f"data.args.train={table}", "--set", "training.epochs=2", "--out", str(out),
        PYTHONPATH=str(acme),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = vqazoo("check", str(out / "best"), PYTHONPATH=str(acme))
    assert "head           nearest" in done.stdout
    test = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_nearest.py"],
        cwd=acme, env={**os.environ, "PYTHONPATH": str(acme)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "1 passed" in test.stdout, test.stdout


def test_without_the_plugin_its_checkpoint_names_what_is_missing(acme, table, tmp_path):
    out = tmp_path / "run"
    vqazoo(
        "train", "--encoder", "tiny-clip", "--head", "nearest", "--data", "table",
        "--set", f"data.args.train={table}", "--set", "training.epochs=1", "--out", str(out),
        PYTHONPATH=str(acme),
    )  # fmt: skip
    done = vqazoo("check", str(out / "best"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Unknown head 'nearest'.")


@pytest.mark.parametrize("page", ["README.md", "docs/own-data.md"])
def test_python_blocks_run(page, tmp_path, picture, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(picture.read_bytes())
    for language, content in blocks(page):
        if language == "python":
            exec(compile(content, page, "exec"), {})


def test_links_between_pages_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_own_data_page_works_as_written(tmp_path, picture, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shown = next(content for language, content in blocks("docs/own-data.md") if language == "csv")
    names = re.findall(r"photos/\w+\.jpg", shown)
    from PIL import Image

    for name in names:
        Image.open(picture).save(tmp_path / name)
    (tmp_path / "train.csv").write_text(shown)
    (tmp_path / "test.csv").write_text(shown)
    script = blocks("docs/own-data.md")
    commands = next(content for language, content in script if language == "sh")
    for line in commands.replace("\\\n", " ").splitlines():
        import shlex

        done = vqazoo(*shlex.split(line)[1:])
        assert done.returncode == 0, done.stderr
