"""Where vqazoo keeps what can be made again: as the XDG base directory specification has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqazoo.features.cache import cache_root
from vqazoo.files.writing import cache_home


@pytest.mark.parametrize(
    ("own", "xdg", "place"),
    [
        ("/own", "/xdg", "/own"),
        ("", "/xdg", "/xdg/vqazoo"),
        (None, "/xdg", "/xdg/vqazoo"),
        (None, None, "/home/ada/.cache/vqazoo"),
        (None, "", "/home/ada/.cache/vqazoo"),
        (None, "relative/one", "/home/ada/.cache/vqazoo"),  # "must be absolute ... ignore it"
        ("~/own", "/xdg", "/home/ada/own"),
    ],
)
def test_the_first_of_three_that_is_set(monkeypatch, own, xdg, place):
    monkeypatch.setenv("HOME", "/home/ada")
    for name, value in (("VQAZOO_CACHE", own), ("XDG_CACHE_HOME", xdg)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert cache_home() == Path(place)
    assert cache_root() == Path(place) / "features"
