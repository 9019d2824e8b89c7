"""Recipes: packaged configs that make a zoo model, from files to card. Torch-free until run.

Each is `model_cards/<name>/recipe.toml`. Its table [origin] says what the source states, what we
chose, and what differs.
"""

from __future__ import annotations

from pathlib import Path

from vqazoo.catalogue import catalogue
from vqazoo.config import DataConfig, RunConfig, read_toml, run_config
from vqazoo.errors import CheckpointError, ConfigError, UnknownNameError, did_you_mean
from vqazoo.files.writing import BEST, RECIPE


def list_recipes() -> list[str]:
    """Names of the packaged recipes, sorted."""
    return sorted(file.parent.name for file in catalogue().glob(f"*/{RECIPE}"))


def recipe_file(name: str) -> Path:
    """The TOML file of a packaged recipe.

    Raises:
        UnknownNameError: there is no such recipe.
    """
    known = list_recipes()
    if name not in known:
        raise UnknownNameError(
            f"Unknown recipe {name!r}.{did_you_mean(name, known)} Run 'vqazoo recipe list' to see "
            f"all."
        )
    return catalogue() / name / RECIPE


def trained_on(folder: Path) -> DataConfig:
    """The data that the recipe of a checkpoint folder names.

    Raises:
        As `run_recipe_of`.
    """
    return run_recipe_of(folder).data


def run_recipe_of(folder: Path) -> RunConfig:
    """The recipe by which the model in a checkpoint folder was trained.

    Of a run's best checkpoint the run's own recipe is read, which has the folders of this machine.

    Raises:
        CheckpointError: there is no such folder. ConfigError: it has no recipe, or a broken one.
    """
    whole = folder.parent / RECIPE
    own = whole if folder.name == BEST and whole.is_file() else folder / RECIPE
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder '{folder}': check the path.")
    if not own.is_file():
        raise ConfigError(
            f"'{folder}' has no {RECIPE}, so nothing tells its data: name the dataset with --data."
        )
    return run_config(read_toml(own))


def read_recipe(name: str) -> RunConfig:
    """A packaged recipe, filled with every default and checked."""
    return run_config(read_toml(recipe_file(name)))
