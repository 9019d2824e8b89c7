"""Plain values of a pickled file, read without the module pickle: nothing in it can run."""

from __future__ import annotations

import pickletools
from typing import Any

TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING"}
NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG1", "LONG4", "LONG", "BINFLOAT", "FLOAT"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
MARK = object()


def plain_value(data: bytes) -> Any:
    """The lists, dicts, texts and numbers that a pickle describes.

    Raises:
        ValueError: it describes anything else, such as an object of a class, or is cut off.
        IndexError, KeyError, TypeError, AttributeError: it is damaged.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for operation, argument, _ in pickletools.genops(data):
        name = operation.name
        if name in ("PROTO", "FRAME"):
            continue
        if name in TEXTS or name in NUMBERS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name == "MARK":
            stack.append(MARK)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("APPENDS", "LIST", "SETITEMS", "DICT"):
            items = _to_mark(stack)
            if name in ("LIST", "DICT"):
                stack.append([] if name == "LIST" else {})
            if name in ("APPENDS", "LIST"):
                stack[-1].extend(items)
            else:
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "STOP":
            return stack.pop()
        else:
            raise ValueError(f"it holds more than lists, objects, texts and numbers: {name}")
    raise ValueError("it has no end")


def _to_mark(stack: list[Any]) -> list[Any]:
    """What stands behind the last mark, which is taken away with it."""
    items: list[Any] = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    return items[::-1]
