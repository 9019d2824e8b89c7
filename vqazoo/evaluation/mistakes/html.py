"""HTML whose texts are escaped unless they were made here. Imports only the standard library."""

from __future__ import annotations

from html import escape

VOID = ("img", "meta")  # elements without an end tag


class Html(str):
    """Markup; any other str is text."""


def text(value: str) -> Html:
    """A text of a stranger: escaped, characters that no page may hold replaced."""
    clean = "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value
    )
    return Html(escape(clean, quote=True))


def tag(name: str, /, *inside: str, **attributes: str) -> Html:
    """One element; `class_` stands for class, and `_` in other names for a dash."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items()
    )
    if name in VOID:
        return Html(f"<{name}{named}>")
    content = "".join(one if isinstance(one, Html) else text(one) for one in inside)
    return Html(f"<{name}{named}>{content}</{name}>")
