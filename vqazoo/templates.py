"""Pages and cards from template files that lie beside the code. Imports jinja2.

A template sees what it is given and the functions of `amounts`. In HTML every text is escaped,
and characters that no page may hold are replaced; a name that was not given is an error.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from vqazoo.amounts import count, duration, percent, size

JOINERS = "\u200c\u200d"  # which Persian, Hindi and some emoji are written with
BLANKS = "\n\t\r"


def fill(beside: str, name: str, /, **values: Any) -> str:
    """What a template file makes of values.

    Args:
        beside: `__file__` of the module that the file lies beside.
        name: of the file; `.html` escapes, `.md` does not.
    """
    return _environment(Path(beside).parent).get_template(name).render(values)


@cache
def _environment(folder: Path) -> Environment:
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=_is_html,
        finalize=_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= {"count": count, "duration": duration, "percent": percent, "size": size}
    return made


def _is_html(name: str | None) -> bool:
    return name is None or not name.endswith(".md")


@pass_eval_context
def _text(context: EvalContext, value: Any) -> Any:
    """What stands for a value: in HTML the text of a stranger, unless a template made it."""
    if not context.autoescape or isinstance(value, Markup):
        return value
    text = str(value)
    return Markup(escape(text if text.isprintable() else "".join(map(_shown, text)), quote=True))


def _shown(character: str) -> str:
    """A character, or what stands for one that is no text or turns the direction of others."""
    if (
        character.isprintable()
        or character in BLANKS
        or character in JOINERS
        or unicodedata.category(character) == "Zs"
    ):
        return character
    return "\N{REPLACEMENT CHARACTER}"
