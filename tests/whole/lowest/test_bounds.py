"""The lower bounds that pyproject.toml states, and what `make lowest` makes of them."""

from __future__ import annotations

import tomllib

import pytest

from tests.whole.lowest.constraints import NOT_TRIED, PYPROJECT, lowest, stated

PROJECT = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
# First release without the hole, and the hole: from the PyPA and GitHub advisory databases.
MENDED = {
    "filelock": ("3.20.3", "CVE-2026-22701"),
    "gradio": ("6.27", "CVE-2026-59806"),
    "h11": ("0.16", "CVE-2025-43859"),
    "nltk": ("3.10.3", "CVE-2026-79676"),
    "onnx": ("1.21", "CVE-2026-27489"),
    "pillow": ("12.3", "CVE-2026-59204"),
    "protobuf": ("6.33.5", "CVE-2026-0994"),
    "python-multipart": ("0.0.31", "CVE-2026-53540"),
    "sentencepiece": ("0.2.1", "CVE-2026-1260"),
    "starlette": ("1.3.1", "CVE-2026-54283"),
    "torch": ("2.11", "CVE-2026-24747, CVE-2026-4538"),
    "transformers": ("5.10.1", "CVE-2026-9856"),
}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.parametrize("name", MENDED)
def test_no_lower_bound_allows_a_known_hole(name):
    assert numbers(lowest()[name]) >= numbers(MENDED[name][0]), MENDED[name][1]


def test_a_server_of_strangers_pictures_has_the_pillow_without_the_jpeg_hole():
    assert numbers(stated(PROJECT["optional-dependencies"]["serve"])["pillow"]) >= (13,)


def test_the_developers_environment_asks_for_what_users_are_asked_for():
    extras = PROJECT["optional-dependencies"]
    dev, base = stated(extras["dev"]), stated(PROJECT["dependencies"])
    for extra, requirements in extras.items():
        if extra not in NOT_TRIED:
            for name, version in stated(requirements).items():
                assert name in base or dev.get(name, version) == version, (extra, name)


def test_a_requirement_without_a_lower_bound_is_told():
    with pytest.raises(SystemExit, match=r"'torch' in pyproject\.toml has no lower bound"):
        stated(["torch"])
    assert stated(["wn>=0.0.23,<0.1"]) == {"wn": "0.0.23"}
