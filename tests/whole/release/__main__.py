"""Builds what is released, reads it, installs it where nothing else is, and takes the tour there.

Run:  python -m tests.whole.release --environment .venv-release    (about 6 GB the first time)
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.docs.pages import blocks
from tests.whole.release.contents import faults, members

ROOT = Path(__file__).parents[3]
TOUR = "docs/learn/tour.md"
SETUP = ("pip install", "mkdir ")  # what is done here already


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, required=True)
    environment = parser.parse_args().environment.absolute()
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "dist"
        said(sys.executable, "-m", "build", "--outdir", str(built), str(ROOT))
        archives = sorted(built.iterdir())
        wrong = [f"{archive.name}: {fault}" for archive in archives for fault in check(archive)]
        if wrong:
            sys.exit("\n".join(wrong))
        (wheel,) = built.glob("*.whl")
        install(wheel, environment)
        taken = Path(scratch) / "tour"
        taken.mkdir()
        tour(environment, taken)
    print(f"{', '.join(archive.name for archive in archives)}: sound, and the tour runs.")


def check(archive: Path) -> list[str]:
    files = members(archive)
    size = archive.stat().st_size / 1e6
    print(f"{archive.name}: {len(files):,} files, {size:.1f} MB", flush=True)
    return faults(files)


def install(wheel: Path, environment: Path) -> None:
    """The wheel without extras, in an environment of its own; libraries that are there stay."""
    if not (environment / "bin/python").exists():
        venv.create(environment, with_pip=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check"]
    said(*pip, "install", "--quiet", str(wheel))
    said(*pip, "install", "--quiet", "--force-reinstall", "--no-deps", str(wheel))
    said(*pip, "check")


def tour(environment: Path, folder: Path) -> None:
    """Every command and script of the tour, as a user types them."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    variables["PATH"] = f"{environment / 'bin'}{os.pathsep}{variables['PATH']}"
    script = ""
    for block in blocks(TOUR):
        if block.language == "python":
            script += block.content + "\n"  # later blocks use the names of earlier ones
            lines = [["python", "-c", script]]
        elif block.language == "sh":
            text = re.sub(r"\\\n\s*", " ", block.content)
            lines = [shlex.split(line) for line in text.splitlines() if line[:1] not in ("", "#")]
            lines = [line for line in lines if not " ".join(line).startswith(SETUP)]
        else:
            continue
        for line in lines:
            print(f"{block}: {' '.join(line)[:80].splitlines()[0]}", flush=True)
            done = subprocess.run(
                line, cwd=folder, env=variables, capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{block} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def said(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}.")


if __name__ == "__main__":
    main()
