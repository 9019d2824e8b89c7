"""`vqazoo recipe`: packaged training configs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vqazoo.cli.options import DATA_ROOT, DEVICE, SET, SKIP_MISSING, run_assignments


@click.group()
def recipe() -> None:
    """List, show, copy and run the recipes that the zoo's models are made by."""


@recipe.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_command(as_json: bool) -> None:
    """List the recipes: name, dataset, source, and whether trained weights exist."""
    from vqazoo.catalogue import NONE, entries
    from vqazoo.config import read_toml
    from vqazoo.recipes import list_recipes, recipe_file

    known = entries()
    rows = []
    for name in list_recipes():
        tables = read_toml(recipe_file(name))
        trained = name in known and known[name].weights != NONE
        data = tables["data"]
        rows.append({
            "name": name,
            "data": data if isinstance(data, str) else data["type"],
            "weights": "trained" if trained else "not trained yet",
            "source": tables.get("origin", {}).get("source", ""),
        })  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    widths = [max(len(row[key]) for row in rows) for key in ("name", "data", "weights")]
    for row in rows:
        cells = zip((row["name"], row["data"], row["weights"]), widths, strict=True)
        click.echo("  ".join([*(text.ljust(width) for text, width in cells), row["source"]]))


@recipe.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the recipe NAME as it is written: TOML with its sources and deviations."""
    from vqazoo.recipes import recipe_file

    click.echo(recipe_file(name).read_text(encoding="utf-8").rstrip())


@recipe.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def copy(name: str, file: Path | None) -> None:
    """Copy the recipe NAME to FILE (default: NAME.toml) to change it: `vqazoo recipe run FILE`."""
    from vqazoo.errors import ConfigError
    from vqazoo.recipes import recipe_file

    source = recipe_file(name)
    target = file or Path(f"{name}.toml")
    try:
        with open(target, "xb") as handle:
            handle.write(source.read_bytes())
    except FileExistsError:
        raise ConfigError(f"'{target}' exists already: name another file.") from None
    except OSError as error:
        raise ConfigError(f"'{target}' cannot be written ({error}): name another file.") from error
    click.echo(str(target))


@recipe.command("run")
@click.argument("name", metavar="NAME|FILE")
@DATA_ROOT
@SKIP_MISSING
@SET
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@DEVICE
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/NAME.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--push", "repo", metavar="OWNER/NAME", help="Publish the model when it is done.")
@click.option("--private", is_flag=True, help="With --push: make a new repository private.")
@click.option("--pin", is_flag=True, help="With --push: write the commit into the catalogue.")
def run_command(
    name: str,
    data_root: str | None,
    skip_missing: bool,
    assignments: tuple[str, ...],
    seed: int | None,
    device: str | None,
    out: Path | None,
    resume: bool,
    repo: str | None,
    private: bool,
    pin: bool,
) -> None:
    """From official files to a published model: train, score, compare, write the card, push.

    NAME is a packaged recipe, or the path of a TOML file.

    Example: vqazoo recipe run clip-lstm-vizwiz --data-root DIR --push me/clip-lstm-vizwiz
    """
    from vqazoo.cli.train import progress
    from vqazoo.recipes import recipe_file, run_recipe
    from vqazoo.training import gather_config

    if (private or pin) and not repo:
        raise click.UsageError("--private and --pin go with --push OWNER/NAME.")
    file = Path(name) if name.endswith(".toml") else recipe_file(name)
    config = gather_config(
        file, run_assignments(assignments, data_root, skip_missing, device), {"seed": seed}
    )
    place = out or Path("runs") / (file.stem if name.endswith(".toml") else name)
    folder = run_recipe(config, place, resume, lambda line: click.echo(line, err=True), progress)
    click.echo(f"The model is in '{folder}', with its card.")
    if repo:
        from vqazoo.transfer import push

        done = push(
            folder, repo, private=private, pin=pin, report=lambda line: click.echo(line, err=True)
        )
        click.echo(f"Published: {done.url}")
