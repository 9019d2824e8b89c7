"""Texts of others on their way to a terminal. Imports only the standard library.

An answer, a tensor's or a file's name may hold sequences that move the cursor, rename the window,
turn the writing round or look like a line of ours. They are shown, not sent.
"""

from __future__ import annotations

import json
import re

# Controls (C0, DEL, C1), halves of characters, ends of lines, marks that turn the direction of
# writing (Unicode TR9), and others that nobody sees. Joiners stay: scripts and emoji need them.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def printable(text: str, lines: bool = False) -> str:
    r"""A text in which what a terminal would obey or hide is written out, as `\x1b`.

    Args:
        lines: whether line breaks and tabs are meant, as in a document of several lines.
    """
    if lines:
        text = text.replace("\r\n", "\n")
        return UNSAFE.sub(lambda match: match[0] if match[0] in "\n\t" else _shown(match[0]), text)
    return UNSAFE.sub(lambda match: _shown(match[0]), text)


def printable_json(text: str) -> str:
    r"""JSON that reads as before, in which such characters stand as `\u001b`."""
    return UNSAFE.sub(
        lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], text
    )


def _shown(character: str) -> str:
    return repr(character)[1:-1]
