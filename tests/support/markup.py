"""Comparing pages: what a browser shows as the same is the same."""

from __future__ import annotations

import re
from pathlib import Path


def without_blanks(html: str) -> str:
    """A page with blanks between elements left out, and other runs of blanks as one."""
    return re.sub(r"\s+", " ", re.sub(r">\s+<", "><", html)).strip()


def golden(test: str, name: str) -> str:
    """A page as it was made by hand-written Python, before there were templates.

    Args:
        test: `__file__` of the test; name: of a file in the folder `golden` beside it.
    """
    return without_blanks((Path(test).parent / "golden" / name).read_text(encoding="utf-8"))
