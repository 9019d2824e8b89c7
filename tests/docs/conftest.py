"""The documentation, built once for all tests of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from tests.docs.pages import ROOT, run


@pytest.fixture(scope="session", name="site")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once even where several processes of pytest want it."""
    pytest.importorskip("sphinx", reason="the documentation is built with vqazoo[dev]")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "site"
    with FileLock(f"{folder}.lock"):
        if not (folder / "built").exists():
            build = ("-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs")
            done = run(*build, str(folder), cwd=ROOT, no_proxy="", https_proxy="http://127.0.0.1:9")
            assert done.returncode == 0, done.stderr
            (folder / "built").touch()
    return folder
