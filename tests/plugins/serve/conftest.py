"""Packaged models, loaded once, and a service of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest

import vqazoo
from tests.plugins.serve.service import allow_loopback, scenes, serving
from vqazoo.model import VQAModel

CLASSIFIER, GATED, WRITER = (
    "tiny-clip-lstm-easyvqa",
    "tiny-clip-linear-flawedshapes",
    "tiny-clip-git-easyvqa",
)
URL_LOGGERS = ("httpx", "httpcore")


@pytest.fixture(autouse=True)
def loopback() -> None:
    allow_loopback()
    for name in URL_LOGGERS:  # they would log what the tests' own client sends
        logging.getLogger(name).setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def models() -> dict[str, VQAModel]:
    return {name: vqazoo.load(name) for name in (CLASSIFIER, GATED, WRITER)}


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return scenes(8)


@pytest.fixture(scope="module")
def client(models: dict[str, VQAModel]) -> Iterator[httpx.Client]:
    with serving(models, max_body=1 << 20, max_pixels=1_000_000, max_questions=8) as found:
        yield found
