"""What somebody's part raises that it should not, as a sentence. Imports only the standard library.

An error that a part raises on purpose is one of vqazoo's own, and stays what it is.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqazoo.errors import DataError, PluginError, VqazooError

LONGEST = 300  # characters of what was raised that are shown
LIBRARIES = ("torch", "numpy")  # whose lines say nothing of the part that called them


@contextmanager
def raised_named(owner: str, method: str) -> Iterator[None]:
    """What a part raises within is told with its name.

    Args:
        owner: the part, such as `The metric 'gqa'`; method: of it, in which it is.

    Raises:
        PluginError: instead of it; what was raised is the cause. Errors of vqazoo, and of memory,
            stay what they are.
        DataError: instead of an error of the file system.
    """
    try:
        yield
    except (VqazooError, MemoryError):
        raise
    except OSError as error:
        raise DataError(
            f"{owner} cannot read a file in {method} ({kind_and_reason(error)}): check that it is "
            f"there and may be read."
        ) from error
    except Exception as error:  # whatever a part raises
        failed = f"{owner} fails in {method}{raised_at(error)}"
        raise PluginError(fault_sentence(failed, error)) from error


def fault_sentence(failed: str, error: BaseException) -> str:
    """The sentence about a part that failed with an error, and what to do."""
    return (
        f"{failed} with {kind_and_reason(error)}: this is a fault of that part, which its "
        f"author finds with vqazoo.testing; VQAZOO_DEBUG=1 shows the traceback."
    )


def kind_and_reason(error: BaseException) -> str:
    """The kind of an error and what it says, in one line."""
    reason = " ".join(str(error).split())[:LONGEST].rstrip(".")
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def raised_at(error: BaseException) -> str:
    """` (file.py, line 7)`: the innermost line that is neither of a library of numbers nor of the
    core; empty: there is none."""
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        # Code that dataclasses write has no file.
        if not frame.filename.startswith("<") and not _says_nothing(Path(frame.filename))
    ]
    return f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""


def _says_nothing(file: Path) -> bool:
    """Whether a file is of the core, or of a library of numbers."""
    core = Path(__file__).parent
    return core in file.parents or any(
        parent.name in LIBRARIES and parent.parent.name.endswith("-packages")
        for parent in file.parents
    )
