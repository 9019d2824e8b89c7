"""References to parts as people write them: `[distribution/]name[:variant]`. Standard library."""

from __future__ import annotations

import re
from typing import NamedTuple

RESERVED = frozenset({"hub", "dir"})  # prefixes of model references
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
