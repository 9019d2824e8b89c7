"""The stand-in Hub, and a tiny checkpoint of every published one that vqazoo reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.whole.families.published import PUBLISHED
from tests.whole.hub.conftest import ada, hub

__all__ = ["ada", "hub"]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each repository, in the layout that transformers saves; not to be changed."""
    root = tmp_path_factory.mktemp("published")
    return {repo: make(root / repo.replace("/", "--")) for repo, make in PUBLISHED.items()}
