"""Asking the Hugging Face Hub: repository names, tries, and what to say when it fails.

Imports huggingface_hub when the Hub is asked.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import NamedTuple, TypeVar

from vqazoo.errors import HubError

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0)  # seconds before the second, third and fourth try
LONGEST_WAIT = 60.0  # seconds, of those that a server asks for
BUSY = (408, 429, 500, 502, 503, 504)  # HTTP states that may pass


class HubRef(NamedTuple):
    """A repository and a revision: branch, tag or commit; empty: its main branch."""

    repo: str
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> HubRef:
        """Read `owner/name` or `owner/name@revision`. Raises HubError for anything else."""
        repo, at, revision = text.partition("@")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) or bool(at) != bool(revision):
            raise HubError(
                f"{text!r} does not name a Hub repository: write OWNER/NAME or OWNER/NAME@REVISION."
            )
        return cls(repo, revision)

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


class AbsentError(HubError):
    """The repository has no such file."""


def asked(
    call: Callable[[], T],
    ref: HubRef,
    name: str = "",
    *,
    writing: bool = False,
    once: bool = False,
) -> T:
    """The result of a call of huggingface_hub, tried again while the Hub is busy or cut off.

    Args:
        ref, name: the repository and the file that the call is about, for the message.
        writing: whether the call changes the repository, for the message.
        once: try once only, because a second try could do it twice.

    Raises:
        HubError: it failed; the message says in one sentence why and what to do.
    """
    failures: tuple[type[Exception], ...] = (
        OSError,
        ValueError,
        RuntimeError,
        *_http_errors("TransportError", "InvalidURL"),
    )
    for wait in (0.0,) if once else (*WAITS, 0.0):
        try:
            return call()
        except failures as error:
            cause = _cause(error)
            if not wait or not _may_pass(cause):
                raise _explained(cause, ref, name, writing) from error
            time.sleep(min(LONGEST_WAIT, max(wait, _asked_wait(cause))))
    raise AssertionError  # the last wait is 0


def _cause(error: BaseException) -> BaseException:
    """What went wrong: "not in the cache" and "error while uploading" wrap it."""
    while error.__cause__ is not None and _status(error) is None and not _is_transport(error):
        error = error.__cause__
    return error


def _http_errors(*names: str) -> tuple[type[Exception], ...]:
    """Exceptions of the HTTP library, which huggingface_hub lets through: it uses httpx2 from its
    release 2 on, httpx before."""
    exceptions = []
    for library in ("httpx2", "httpx"):
        with contextlib.suppress(ImportError):
            module = import_module(library)
            exceptions += [getattr(module, name) for name in names]
    return tuple(exceptions)


def _is_transport(error: BaseException) -> bool:
    closed = "client has been closed" in str(error)  # of 1.x after a connection that failed
    return closed or isinstance(error, _http_errors("TransportError"))


def _status(error: BaseException) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, _http_errors("UnsupportedProtocol", "LocalProtocolError")):
        return False  # the request itself is wrong
    if isinstance(error, _http_errors("ConnectError", "ConnectTimeout")):
        return False  # nobody is there; where it helps, the client itself has tried again
    cut_off = "Consistency check" in str(error)  # the client's words for a file of another size
    return _status(error) in BUSY or cut_off or _is_transport(error)


def _asked_wait(error: BaseException) -> float:
    """Seconds that the server asks to wait (Retry-After, which may be a date), 0 if it does not."""
    said = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "0")
    if re.fullmatch(r"\s*[0-9]+\s*", said):
        return float(said)
    try:
        return parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:  # neither
        return 0.0


def _explained(error: BaseException, ref: HubRef, name: str, writing: bool) -> HubError:
    from huggingface_hub import constants, errors

    repo, file = f"'{ref.repo}'", f"'{name}' of " if name else ""
    status, local = _status(error), isinstance(error, errors.LocalEntryNotFoundError)
    if isinstance(error, errors.EntryNotFoundError) and not local:
        return AbsentError(
            f"The Hub repository '{ref}' has no '{name}', so it is not a whole vqazoo checkpoint: "
            f"check the name, or push it again."
        )
    if isinstance(error, errors.GatedRepoError):
        message = (
            f"The Hub repository {repo} is gated: ask for access at "
            f"{constants.ENDPOINT}/{ref.repo}, then run  hf auth login  with that account."
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        message = (
            f"The Hub repository {repo} has no revision '{ref.revision}': check the branch, tag or "
            f"commit."
        )
    elif isinstance(error, errors.HFValidationError):
        message = f"{repo} cannot name a Hub repository ({_reason(error)}): write OWNER/NAME."
    elif status in (401, 403, 404):
        message = _refused(status, isinstance(error, errors.RepositoryNotFoundError), repo, writing)
    elif status in (409, 412):
        message = f"Somebody else changed the Hub repository {repo} meanwhile: run this again."
    elif status == 429:
        message = (
            f"The Hub has had too many requests (about {repo}): run this again in some minutes."
        )
    elif status is not None and status >= 500:
        message = f"The Hub failed with status {status} (about {repo}): run this again later."
    elif isinstance(error, errors.OfflineModeIsEnabled) or (local and constants.is_offline_mode()):
        message = (
            f"Nothing can be sent to {repo}, because HF_HUB_OFFLINE forbids it: unset it."
            if writing
            else f"{file}'{ref}' is not in the cache, and HF_HUB_OFFLINE forbids to ask the Hub: "
            f"unset it, or copy the cache of another machine."
        )
    elif _is_transport(error) or local:
        unreachable = f"the Hub at {constants.ENDPOINT} cannot be reached ({_reason(error)})"
        message = (
            f"{repo} was not changed as asked, because {unreachable}: check the network, and run "
            f"this again."
            if writing
            else f"{file}'{ref}' is not in the cache, and {unreachable}: check the network, or "
            f"copy the cache of another machine."
        )
    else:
        message = (
            f"{file}'{ref}' could not be transferred ({_reason(error)}): mend that, then run this "
            f"again."
        )
    return HubError(message)


def _refused(status: int, unknown: bool, repo: str, writing: bool) -> str:
    """What to say of 401, 403 and 404."""
    log_in = "run  hf auth login  with an account that may"
    if status == 401 and writing:
        return f"The Hub takes nothing for {repo} without a valid token: {log_in} write to it."
    if status == 401 and not unknown:
        return f"The Hub refuses your token (about {repo}): {log_in} read it, or unset HF_TOKEN."
    if status == 401:
        return (
            f"The Hub shows no repository {repo} without a token: check the name; if it is "
            f"private, {log_in} read it."
        )
    if status == 403:
        change = "change" if writing else "read"
        return f"Your token may not {change} the Hub repository {repo}: {log_in} {change} it."
    return f"There is no Hub repository {repo} that you may see: check the name and your account."


def _reason(error: BaseException) -> str:
    """The first line of an error, without what could be a token or a signature."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith("(Request ID")]
    kind = type(error).__name__
    if not kept:
        return kind
    clean = re.sub(r"(Bearer |hf_)[^'\"]*", r"\1***", kept[0])
    clean = re.sub(r"(https?://[^ ?]+)[?][^ ]*", r"\1", clean)
    return f"{kind}: {clean.rstrip('.:')}"
