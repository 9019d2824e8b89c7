"""Options that several verbs share, and what they mean. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from vqazoo.cli.completion import complete_part

DATA_ARGS = "data.args."  # before the arguments of a dataset in a training config

F = TypeVar("F", bound=Callable[..., Any])

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
DATA_ROOT = click.option(
    "--data-root", help="Folder of the dataset's official files; its argument data_root."
)
SKIP_MISSING = click.option(
    "--skip-missing",
    is_flag=True,
    help="Leave out questions whose picture does not exist or cannot be read.",
)

SET = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one config key, such as training.epochs=5; may be repeated.",
)
DEVICE = click.option("--device", help="cpu, cuda, cuda:1, mps; default: cuda if there is one.")


DEVICE_OR_CPU = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
DEVICE_OR_AUTO = click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...")
CACHED_FEATURES = click.option(
    "--cache", default="", help="Folder of cached features; default: vqazoo's own."
)


def signed_by_options(command: F) -> F:
    """Options --identity and --issuer: who must have signed a model."""
    command = click.option(
        "--issuer", default="", metavar="URL", help="Who vouches for an identity of sigstore."
    )(command)
    return click.option(
        "--identity",
        default="",
        metavar="WHO",
        help="Refuse what was not signed by this: a file with a public key, or a name (--issuer).",
    )(command)


def listens_on(port: int) -> Callable[[F], F]:
    """Options --host and --port, for verbs that answer over HTTP; `port` is the default."""

    def add(command: F) -> F:
        command = click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=port,
            show_default=True,
            help="0: any free one, which is printed.",
        )(command)
        return click.option(
            "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
        )(command)

    return add


def decode_flags(candidates: bool = True) -> Callable[[F], F]:
    """Options --decode, and --candidates where answers may be chosen among; see `asked`."""

    def add(command: F) -> F:
        if candidates:
            command = click.option(
                "--candidates",
                type=click.Path(path_type=Path),
                help="File with one answer a line: the model chooses among these.",
            )(command)
        return click.option(
            "--decode",
            multiple=True,
            metavar="KEY=VALUE",
            help="Option of the head, such as strategy=beam; see vqazoo info. May be repeated.",
        )(command)

    return add


def uncalibrated(command: F) -> F:
    """Option --uncalibrated."""
    return click.option(
        "--uncalibrated",
        is_flag=True,
        help="Give the scores of the head, not probabilities of being right.",
    )(command)


def abstain_at_risk(command: F) -> F:
    """Option --abstain-at-risk."""
    return click.option(
        "--abstain-at-risk",
        type=float,
        metavar="SHARE",
        help='Say "I don\'t know" rather than be wrong in more than this share of the answers.',
    )(command)


def confidence_flags(command: F) -> F:
    """Options --uncalibrated and --abstain-at-risk."""
    return uncalibrated(abstain_at_risk(command))


def decode_request(
    decode: Sequence[str], candidates: Path | None = None
) -> tuple[dict[str, Any], list[str] | None]:
    """What --decode and --candidates say: options of the head, and answers to choose among.

    Raises:
        ConfigError: both are given, or an option is no KEY=VALUE.
        DataError: the file of candidates cannot be read, or is empty.
    """
    from vqazoo.config import set_value
    from vqazoo.errors import ConfigError

    options: dict[str, Any] = {}
    for assignment in decode:
        set_value(options, assignment, "--decode")
    if candidates is None:
        return options, None
    if options:
        raise ConfigError("--decode is for answers that are written, not chosen: leave it out.")
    return options, _lines(candidates)


def _lines(file: Path) -> list[str]:
    from vqazoo.errors import DataError

    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The file of candidates '{file}' cannot be read ({error}).") from error
    if not (kept := [line for line in lines if line]):
        raise DataError(f"The file of candidates '{file}' is empty: write one answer a line.")
    return kept


def part(flag: str, kind: str, about: str) -> Callable[[F], F]:
    """An option that takes a part's name and completes it; `kind` as the registry names it."""
    return click.option(
        flag, shell_complete=complete_part(kind), callback=canonical(kind), help=about
    )


def canonical(kind: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A callback that spells the name of a part as the registry does."""

    def spell(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
        from vqazoo.data.own_files import TEST, dataset_of_file
        from vqazoo.names import PLUS, two_towers
        from vqazoo.registry import registry

        if name is None or (kind == "dataset" and dataset_of_file(name, TEST)[0] != name):
            return name
        towers = two_towers(name, registry.names(kind)) if kind == "encoder" else None
        return PLUS.join(registry.canonical(kind, each) for each in towers or [name])

    return spell


def named_data(command: F) -> F:
    """Options --data, --data-root and --set, of verbs that read one dataset."""
    for option in reversed(
        (
            part(
                "--data", "dataset", "Dataset or file; default: the one the model was trained on."
            ),
            DATA_ROOT,
            click.option(
                "--set",
                "assignments",
                multiple=True,
                metavar="KEY=VALUE",
                help="Argument of the dataset, such as test=my.csv; may be repeated.",
            ),
        )
    ):
        command = option(command)
    return command


def data_options(command: F) -> F:
    """Those of `named_data`, and --skip-missing."""
    return named_data(SKIP_MISSING(command))


def make_folder(folder: Path) -> None:
    """Make the folder that results go to, before the work is done.

    Raises:
        DataError: it cannot be made.
    """
    from vqazoo.errors import DataError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The folder '{folder}' cannot be made ({error}): name another one."
        ) from error


def run_assignments(
    assignments: Sequence[str],
    data_root: str | None,
    skip_missing: bool = False,
    device: str | None = None,
) -> tuple[str, ...]:
    """All --set assignments of a training config, also those that other options stand for."""
    extra = []
    if data_root is not None:
        extra.append(f"data.args.data_root={json.dumps(data_root)}")
    if skip_missing:
        extra.append("data.skip_missing=true")
    if device is not None:
        extra.append(f"training.device={json.dumps(device)}")
    return (*assignments, *extra)


@contextmanager
def asking_for_data() -> Iterator[None]:
    """Who names no data where the model names none either has used the verb wrongly."""
    from vqazoo.zoo.evaluate import UnnamedDataError

    try:
        yield
    except UnnamedDataError as error:
        raise click.UsageError(str(error)) from error


def dataset_args(
    data: str, args: Mapping[str, Any], data_root: str | None, assignments: Sequence[str]
) -> dict[str, Any]:
    """Every argument of a dataset, from a recipe, then --data-root, then --set, checked.

    Raises:
        ConfigError, UnknownNameError: an argument or the dataset is not known.
    """
    from vqazoo.registry import registry

    return registry.fill("dataset", data, {**args, **given_args(data_root, assignments)})


def given_args(data_root: str | None, assignments: Sequence[str]) -> dict[str, Any]:
    """The arguments of a dataset that --data-root and --set give, such as test=my.csv; as in a
    training config, data.args.test=my.csv is the same.

    Raises:
        ConfigError: an assignment is no KEY=VALUE.
    """
    from vqazoo.config import set_value

    given: dict[str, Any] = {} if data_root is None else {"data_root": data_root}
    for assignment in assignments:
        set_value(given, assignment.removeprefix(DATA_ARGS))
    return given
