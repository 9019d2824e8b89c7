"""What a service accepts, and how it refuses the rest. Imports only the standard library."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqazoo.errors import ConfigError

MIB = 1 << 20
TOKEN_VARIABLE = "VQAZOO_SERVE_TOKEN"
FEWEST_CONNECTIONS = 256
SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and ways of one service.

    Attributes:
        token: what requests must carry as `Authorization: Bearer TOKEN`; empty: nothing.
        allow_urls: whether pictures may be fetched from public addresses.
        max_batch: questions that are answered together, at most.
        max_wait_ms: milliseconds that the first question of a batch waits for others.
        queue: requests that are taken at once; more are refused with 429.
        max_body: bytes of a request, and of a fetched picture.
        max_pixels: of a picture, width times height.
        max_questions: of one request; pictures too.
        max_question_length: characters.
        timeout: seconds from the first byte of a request to its answer.
        cache_bytes: of features that are kept, for pictures and questions together.
        quality: the model, one of those that are served, that judges every picture; empty: none.
    """

    token: str = field(default="", repr=False)
    allow_urls: bool = False
    max_batch: int = 32
    max_wait_ms: float = 1.0
    queue: int = 64
    max_body: int = 20 * MIB
    max_pixels: int = 50_000_000
    max_questions: int = 32
    max_question_length: int = 500
    timeout: float = 30.0
    cache_bytes: int = 256 * MIB
    quality: str = ""

    @property
    def connections(self) -> int:
        """Connections at once: those that wait for an answer never need all of them."""
        return max(FEWEST_CONNECTIONS, 4 * self.queue)


class Refusal(Exception):
    """A request that is not answered: HTTP status, reason for the metrics, and one sentence.

    `place` is that of the body which cannot be used, such as `questions[0].name`.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        place: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = dict(headers or {})
        self.place = place


def named_models(models: Sequence[str], names: Sequence[str], quality: str = "") -> dict[str, str]:
    """References of the models that are served by their public names: `names` in their order, or
    without any the references themselves. A judge of pictures beside them keeps its reference.

    Raises:
        ConfigError: there is not a name for each model, or one is not such a name.
    """
    models = list(dict.fromkeys(models))
    if names and len(names) != len(models):
        raise ConfigError(
            f"There are {len(models)} models and {len(names)} of --name ({', '.join(names)[:80]}): "
            f"give it once for each model, in their order, or not at all."
        )
    judge = [quality] if quality and quality not in models else []
    public = [*(names or models), *judge]
    for name in public:
        if not name.strip() or not name.isprintable() or public.count(name) > 1:
            raise ConfigError(
                f"The name {name[:80]!r} is empty, given twice or not printable: give each model a "
                f"--name of its own."
            )
    return dict(zip(public, [*models, *judge], strict=True))


def read_token(file: Path | None) -> str:
    """The token in a file, else that of the environment variable, else an empty one.

    Raises:
        ConfigError: the file cannot be read, or the token is short or not plain ASCII.
    """
    if file is None:
        token, source = os.environ.get(TOKEN_VARIABLE, ""), f"The variable {TOKEN_VARIABLE}"
        if not token:
            return ""
    else:
        source = f"The token file '{file}'"
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source} cannot be read ({error}): check its path.") from error
    if len(token) < SHORTEST_TOKEN or not all("!" <= character <= "~" for character in token):
        raise ConfigError(
            f"{source} holds no token of {SHORTEST_TOKEN} or more ASCII characters without blanks: "
            f"make one with  python -c 'import secrets; print(secrets.token_urlsafe())'."
        )
    return token
