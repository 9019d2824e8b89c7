"""The verb `vqazoo serve`. Imports fastapi, uvicorn and torch when it runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from vqazoo.cli.completion import complete_model
from vqazoo.cli.options import DEVICE_OR_CPU, listens_on
from vqazoo_serve.settings import MIB, TOKEN_VARIABLE

COUNT = click.IntRange(min=1)


@click.command()
@click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_model
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="Public name of a MODEL, given once for each, in their order; default: MODEL as written.",
)
@listens_on(8000)
@DEVICE_OR_CPU
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"File with the token that requests must carry; or set {TOKEN_VARIABLE}.",
)
@click.option("--allow-urls", is_flag=True, help="Fetch pictures from public addresses.")
@click.option(
    "--workers",
    type=COUNT,
    default=1,
    show_default=True,
    help="Processes behind the port, each with models and limits of its own.",
)
@click.option(
    "--max-batch", type=COUNT, default=32, show_default=True, help="Questions answered together."
)
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(min=0),
    default=1,
    show_default=True,
    help="How long the first question of a batch waits for others.",
)
@click.option(
    "--queue",
    type=COUNT,
    default=64,
    show_default=True,
    help="Requests taken at once; more are refused with 429.",
)
@click.option(
    "--max-body-mib", type=COUNT, default=20, show_default=True, help="Largest request in MiB."
)
@click.option(
    "--max-pixels",
    type=COUNT,
    default=50_000_000,
    show_default=True,
    help="Largest picture, width times height.",
)
@click.option("--max-questions", type=COUNT, default=32, show_default=True, help="Of one request.")
@click.option(
    "--max-question-length", type=COUNT, default=500, show_default=True, help="In characters."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30,
    show_default=True,
    help="Seconds from the first byte of a request to its answer.",
)
@click.option(
    "--cache-mib",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    help="Memory for features of pictures and questions; 0: none are kept.",
)
@click.option(
    "--quality",
    default="",
    metavar="MODEL",
    help="Model that judges every picture, and says when to take it again.",
)
def serve(
    models: tuple[str, ...],
    names: tuple[str, ...],
    host: str,
    port: int,
    device: str,
    token_file: Path | None,
    workers: int,
    max_body_mib: int,
    cache_mib: int,
    quality: str,
    **limits: Any,
) -> None:
    """Answer questions over HTTP with one MODEL or several; the first is the default.

    MODEL is a zoo name, dir:PATH or hub:OWNER/NAME. The page /docs describes the interface.

    Example: vqazoo serve tiny-clip-lstm-easyvqa --name shapes
    """
    from vqazoo.errors import missing_package

    for module, package in (
        ("fastapi", "fastapi"),
        ("h11", "h11"),
        ("prometheus_client", "prometheus-client"),
        ("uvicorn", "uvicorn"),
    ):
        if find_spec(module) is None:
            raise missing_package("vqazoo serve", package, "serve")
    from vqazoo_serve.listening import bind
    from vqazoo_serve.settings import Settings, named_models, read_token

    served = named_models(models, names, quality)
    public = {model: name for name, model in served.items()}
    settings = Settings(
        token=read_token(token_file),
        max_body=max_body_mib * MIB,
        cache_bytes=cache_mib * MIB,
        quality=public.get(quality, ""),
        **limits,
    )
    with bind(host, port) as listener:
        if workers > 1:
            from vqazoo_serve.supervisor import Service, supervise

            supervise(Service(served, device, settings), listener, workers)
            return
        import vqazoo
        from vqazoo_serve.server import run

        loaded = {name: vqazoo.load(model, device=device) for name, model in served.items()}
        run(loaded, settings, listener)
