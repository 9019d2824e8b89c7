"""Parts and names of encoders by a word of them. Imports no torch."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from vqazoo.errors import PluginError
from vqazoo.manifests import EncoderManifest

UNITS = ("{} px", "{} tokens", "text {}")  # what a row says of a name, where it does


def pattern(word: str) -> re.Pattern[str] | None:
    """What finds a word, whatever its case, blanks and hyphens; None: it has no letter or digit.

    A number is found whole: "SigLIP 2" is not in "SigLIP-256".
    """
    letters = re.findall(r"[^\W_]", word)
    if not letters:
        return None
    start = r"(?<!\d)" if letters[0].isdigit() else ""
    end = r"(?!\d)" if letters[-1].isdigit() else ""
    return re.compile(start + r"[\W_]*".join(letters) + end, re.IGNORECASE)


def named_like(
    word: re.Pattern[str], name: str, manifest: EncoderManifest
) -> list[tuple[str, str]]:
    """References and what they are known as, of an encoder's names in which the word is found.

    Raises:
        PluginError: the file that the manifest names is missing or holds something else.
    """
    package, _, file = manifest.names.partition(":")
    if not package:
        return []
    try:
        rows = json.loads((files(package) / file).read_text(encoding="utf-8"))["names"]
        described = [(f"{name}:{row[0]}", _what(*row)) for row in rows]
    except (OSError, ImportError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PluginError(
            f"The names of the encoder '{name}' cannot be read from '{manifest.names}' ({error}): "
            f"install the package that it comes from again."
        ) from error
    return [(ref, what) for ref, what in described if word.search(f"{ref} {what}")]


def _what(name: str, known_as: str, *said: Any) -> str:
    told = [unit.format(value) for unit, value in zip(UNITS, said, strict=True) if value]
    return ", ".join([known_as, *told])
