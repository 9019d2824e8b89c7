"""What `make release-check` refuses in an archive."""

from __future__ import annotations

import pytest

from tests.whole.release.contents import faults

METADATA = b"""\
Metadata-Version: 2.4
Name: zoo
Version: 1.0
Summary: A zoo
License-Expression: MIT
License-File: LICENSE
Requires-Python: >=3.11
Description-Content-Type: text/markdown

# zoo
"""
SOUND = {
    "zoo-1.0.dist-info/METADATA": METADATA,
    "zoo-1.0.dist-info/licenses/LICENSE": b"MIT",
    "zoo/__init__.py": b"VALUE = 1\n",
}


def test_a_sound_archive_has_no_faults() -> None:
    assert faults(SOUND) == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("runs/first/log.jsonl", b"{}", "does not belong into a release"),
        (".mypy_cache/3.11/a.json", b"{}", "does not belong into a release"),
        ("zoo/__pycache__/a.pyc", b"", "does not belong into a release"),
        ("zoo/deploy.pem", b"", "does not belong into a release"),
        ("zoo/token.py", b"T = 'hf_" + b"a" * 34 + b"'", "names a secret"),
        ("zoo/key.txt", b"-----BEGIN EC PRIVATE KEY-----\nMHcCAQ", "names a secret"),
        (
            "zoo/paths.py",
            b"ROOT = '/home" + b"/karl/data/'",
            "names somebody's folder: '/home" + "/karl/'",
        ),
        ("zoo/large.bin", bytes(12_000_001), "has 12,000,001 bytes"),
    ],
)
def test_what_does_not_belong_is_told(name: str, content: bytes, told: str) -> None:
    (fault,) = faults({**SOUND, name: content})
    assert fault.startswith(name)
    assert told in fault


def test_a_licence_that_is_missing_is_told() -> None:
    held = {name: content for name, content in SOUND.items() if "LICENSE" not in name}
    assert faults(held) == ["LICENSE is missing."]
    bare = METADATA.replace(b"License-Expression: MIT\nLicense-File: LICENSE\n", b"")
    assert faults({**SOUND, "zoo-1.0.dist-info/METADATA": bare}) == [
        "The metadata have no license expression.",
        "The metadata do not name LICENSE.",
    ]


def test_metadata_that_the_index_would_refuse_are_refused() -> None:
    wrong = METADATA.replace(b"Version: 1.0", b"Version: one")
    with pytest.raises(ExceptionGroup):
        faults({**SOUND, "zoo-1.0.dist-info/METADATA": wrong})
