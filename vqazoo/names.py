"""References to parts as people write them: `[distribution/]name[:variant]`. Standard library."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

RESERVED = frozenset({"hub", "dir"})  # prefixes of model references
PLUS = "+"  # between an image and a text encoder
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Ref(NamedTuple):
    """A parsed reference: `[distribution/]name[:variant]`."""

    distribution: str | None
    name: str
    variant: str | None


def parse_ref(text: str) -> Ref:
    """Split a reference; case and `_` for `-` are forgiven in the name, never in the variant."""
    family, _, variant = text.partition(":")
    distribution, _, name = family.rpartition("/")
    return Ref(distribution or None, name.strip().casefold().replace("_", "-"), variant or None)


def two_towers(encoder: str, known: Collection[str]) -> tuple[str, str] | None:
    """The references in `IMAGE+TEXT`; None: it is one, whose variant may hold a plus sign.

    Args:
        known: names of encoders, one of which must begin the second reference.
    """
    for plus in re.finditer(re.escape(PLUS), encoder):
        image, text = encoder[: plus.start()], encoder[plus.end() :]
        if image and parse_ref(text).name in known:
            return image, text
        if image in known and text:  # so that the name that nobody offers is told, and alone
            return image, text
    return None
