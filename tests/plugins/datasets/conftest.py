"""Messages of readers as the command line says them, where tests call readers by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vqazoo.keywords import flags_named


@pytest.fixture(autouse=True)
def as_on_the_command_line() -> Iterator[None]:
    with flags_named():
        yield
