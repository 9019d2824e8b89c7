"""What a model's own folder says that its score is set beside. Imports no torch."""

from __future__ import annotations

import json

from vqazoo.errors import VqazooError
from vqazoo.evaluation.summary import NOTHING_BESIDE, WITHOUT_PICTURES, SetBeside
from vqazoo.files.reading import MIB, read_plain
from vqazoo.files.writing import METRICS, RECIPE
from vqazoo.zoo.models import find
from vqazoo.zoo.recipes import run_recipe_of


def known_beside(reference: str, data: str, split: str) -> SetBeside:
    """The scores of the question alone, and those that the recipe's source reports.

    Nothing where the model has no recipe, or other data were scored than it is tested on.
    """
    try:
        folder = find(reference, names=(RECIPE, METRICS)).folder
        if folder is None:
            return NOTHING_BESIDE
        recipe = run_recipe_of(folder)
    except VqazooError:  # a model that others published has none, and is scored all the same
        return NOTHING_BESIDE
    if (recipe.data.type, recipe.data.test_split) != (data, split):
        return NOTHING_BESIDE
    published: dict[str, tuple[float, str]] = {}
    for score in recipe.origin.scores:
        value = score.value / 100
        if value > published.get(score.metric, (0.0, ""))[0]:
            published[score.metric] = value, score.source or score.split
    alone: dict[str, float] = {}
    file = folder / METRICS
    for entry in json.loads(read_plain(file, 32 * MIB)) if file.is_file() else ():
        name = str(entry["name"])
        if (
            name.startswith(WITHOUT_PICTURES)
            and f"|data:{data}|split:{split}|" in entry["signature"]
        ):
            alone[name.removeprefix(WITHOUT_PICTURES)] = float(entry["value"])
    return SetBeside(alone, published)
