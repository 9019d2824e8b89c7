"""The stand-in server as a fixture: the client of this process, and only that, reaches it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import pytest_socket
from huggingface_hub import constants, hf_api

from tests.whole.hub.models import NAME, upload
from tests.whole.hub.server import StandInHub


@pytest.fixture
def hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandInHub]:
    """A fresh stand-in that the client in this process uses, with a cache of its own.

    Fresh processes use it too unless they are given another environment. Only 127.0.0.1 can be
    reached; pytest-socket blocks that again before the next test. `transformers` copies what it
    reads from the client when it is imported, so it is to be tested in a fresh process.
    """
    home = tmp_path_factory.mktemp("hub")
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    with StandInHub() as server:
        server.cache = home / "hub"
        for name, value in server.environment(home).items():
            monkeypatch.setenv(name, value)
        # The client reads its environment once, when it is imported.
        known = {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(server.cache),
            "HUGGINGFACE_HUB_CACHE": str(server.cache),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
        }
        for name, value in known.items():
            monkeypatch.setattr(constants, name, value)
        # What functions such as `huggingface_hub.whoami` use; made when the client is imported.
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)
        huggingface_hub.close_session()
        huggingface_hub.utils.disable_progress_bars()
        yield server
        huggingface_hub.utils.enable_progress_bars()
        huggingface_hub.close_session()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client would have waited; it does not."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", asked.append)
    return asked


@pytest.fixture(scope="session")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder as training wrote it; not to be changed."""
    import vqazoo

    out = tmp_path_factory.mktemp("trained") / "run"
    vqazoo.train(
        out=out,
        encoder="tiny-clip",
        head="mlp",
        data={"type": "table", "args": {"train": str(table)}},
        set=[f"name={NAME}", "training.epochs=1"],
        report=lambda line: None,
    )
    return out / "best"


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def ada(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> str:
    """The token of somebody who is logged in, and may write to the repositories of ada."""
    monkeypatch.setenv("HF_TOKEN", "hf_ada_secret")
    return hub.add_token("hf_ada_secret", "ada")


@pytest.fixture
def commit(hub: StandInHub, trained: Path) -> str:
    """A trained model on the Hub, put there behind the client's back; its commit."""
    return upload(hub, trained)
