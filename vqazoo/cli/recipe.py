"""`vqazoo recipe`: packaged training configs."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo.cli.completion import complete_recipe
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import (
    DATA_ROOT,
    DEVICE,
    JSON,
    SET,
    SKIP_MISSING,
    decode_flags,
    decode_request,
    run_assignments,
)
from vqazoo.cli.output import print_json, print_table, progress, say


@click.group()
def recipe() -> None:
    """List, show, copy and run the recipes that the zoo's models are made by."""


@recipe.command("list")
@JSON
def list_command(as_json: bool) -> None:
    """List the recipes: name, dataset, source, and whether trained weights exist."""
    from vqazoo.catalogue import NONE, entries
    from vqazoo.config import read_toml
    from vqazoo.zoo.recipes import list_recipes, recipe_file

    known = entries()
    rows = []
    for name in list_recipes():
        tables = read_toml(recipe_file(name))
        trained = name in known and known[name].weights != NONE
        data = tables["data"]
        rows.append(
            {
                "name": name,
                "data": data if isinstance(data, str) else data["type"],
                "weights": "trained" if trained else "not trained yet",
                "source": tables.get("origin", {}).get("source", ""),
            }
        )
    if as_json:
        print_json(rows, indent=2)
        return
    headings = ("name", "data", "weights", "source")
    print_table(headings, [[row[heading] for heading in headings] for row in rows])


@recipe.command()
@click.argument("name", shell_complete=complete_recipe)
@JSON
def show(name: str, as_json: bool) -> None:
    """Print the recipe NAME as it is written: TOML with its sources and deviations."""
    from vqazoo.config import read_toml
    from vqazoo.zoo.recipes import recipe_file

    if as_json:
        print_json(read_toml(recipe_file(name)))
        return
    say(recipe_file(name).read_text(encoding="utf-8").rstrip(), lines=True)


@recipe.command()
@click.argument("name", shell_complete=complete_recipe)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@JSON
def copy(name: str, file: Path | None, as_json: bool) -> None:
    """Copy the recipe NAME to FILE (default: NAME.toml) to change it: `vqazoo recipe run FILE`."""
    from vqazoo.errors import ConfigError
    from vqazoo.zoo.recipes import recipe_file

    source = recipe_file(name)
    target = file or Path(f"{name}.toml")
    try:
        with open(target, "xb") as handle:
            handle.write(source.read_bytes())
    except FileExistsError:
        raise ConfigError(f"'{target}' exists already: name another file.") from None
    except OSError as error:
        raise ConfigError(f"'{target}' cannot be written ({error}): name another file.") from error
    if as_json:
        print_json({"name": name, "file": str(target)})
        return
    say(str(target))


@recipe.command("run", cls=ExampleCommand)
@click.argument("name", metavar="NAME|FILE", shell_complete=complete_recipe)
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
@decode_flags()
@JSON
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
    decode: tuple[str, ...],
    candidates: Path | None,
    as_json: bool,
) -> None:
    """From official files to a published model: train, score, compare, write the card, push.

    NAME is a packaged recipe, or the path of a TOML file. --decode and --candidates, as in 'vqazoo
    ask', are how the test split is answered.

    Example: vqazoo recipe run {recipe} --data-root DIR --push me/{recipe}
    """
    from vqazoo.cli.train import how_to_resume
    from vqazoo.training.recipe_run import run_recipe
    from vqazoo.training.settings import gather_config
    from vqazoo.zoo.recipes import recipe_file

    if (private or pin) and not repo:
        raise click.UsageError("--private and --pin go with --push OWNER/NAME.")
    options, chosen = decode_request(decode, candidates)
    file = Path(name) if name.endswith(".toml") else recipe_file(name)
    config = gather_config(
        file, run_assignments(assignments, data_root, skip_missing, device), {"seed": seed}
    )
    place = out or Path("runs") / (file.stem if name.endswith(".toml") else name)

    def report(line: str) -> None:
        say(line, err=True)

    with told_when_interrupted(lambda: how_to_resume(place, f"vqazoo recipe run {name}")):
        folder = run_recipe(config, place, resume, report, progress, options, chosen)
        if not as_json:
            say(f"The model is in '{folder}', with its card.")
        document = {"model": str(folder)}
        if repo:
            from vqazoo.publish.push import push

            document["url"] = push(folder, repo, private=private, pin=pin, report=report).url
            if not as_json:
                say(f"Published: {document['url']}")
    if as_json:
        print_json(document)
