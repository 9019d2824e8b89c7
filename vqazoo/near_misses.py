"""What a part's name that nobody offers probably meant. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import entry_points

from vqazoo.errors import did_you_mean, suggest


def near_miss(kind: str, name: str, known: Mapping[str, Collection[str]], group: str) -> str:
    """One or more sentences with a leading space, or an empty string.

    Args:
        known: names of parts by kind.
        group: entry-point group of the kind.
    """
    for spelled in known[kind]:
        if spelled != name and spelled.casefold().replace("_", "-") == name:
            return (
                f" The name of the entry point '{spelled}' is not allowed: spell it '{name}', with "
                f"a-z, 0-9 and single dashes."
            )
    for other in known:
        if other != kind and name in known[other]:
            return f" '{name}' is {article(other)}, not {article(kind)}."
    if stray := _stray(name):
        return f" An entry point '{name}' stands in '{stray}', but {kind}s stand in '{group}'."
    if near := did_you_mean(name, known[kind]):
        return near
    for other in known:
        if other != kind and (match := suggest(name, known[other], 1)):
            return f" Did you mean the {other} {match[0]!r}?"
    return ""


def article(noun: str) -> str:
    """`a head`, `an encoder`."""
    return f"{'an' if noun[0] in 'aeiouAEIO' else 'a'} {noun}"


def _stray(name: str) -> str:
    """A group like ours, which is none of ours, that holds the name."""
    for group in sorted(entry_points().groups):
        if group.startswith("vqazoo") and name in entry_points(group=group).names:
            return group
    return ""
