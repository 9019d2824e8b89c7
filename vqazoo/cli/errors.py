"""`vqazoo errors`: a model's mistakes on a split, grouped, in one page that needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqazoo.cli.completion import complete_model
from vqazoo.cli.options import JSON, asked, data_options, dataset_args, decode_options
from vqazoo.cli.output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqazoo.data import Example
    from vqazoo.evaluation.answering import Asking
    from vqazoo.evaluation.mistakes import Mistakes
    from vqazoo.evaluation.mistakes.similarity import Clusters
    from vqazoo.interfaces import Answer
    from vqazoo.model import VQAModel
    from vqazoo.zoo.models import Found

PAGE = "mistakes.html"
PRINTED = 3  # groups of each grouping


@click.command()
@click.argument("run", shell_complete=complete_model)
@data_options
@click.option("--split", help="Which split to look at; default: the recipe's test split, or test.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Take the answers from this file of 'vqazoo eval' instead of asking the model again.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help=f"The page; default: {PAGE} in this folder, or none with --json.",
)
@click.option("--no-pictures", is_flag=True, help="Leave the pictures out of the page.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...")
@click.option("--cache", default="", help="Folder of cached features; default: vqazoo's own.")
@decode_options()
@JSON
def errors(
    run: str,
    data: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    skip_missing: bool,
    split: str | None,
    predictions: Path | None,
    out: Path | None,
    no_pictures: bool,
    device: str,
    cache: str,
    decode: tuple[str, ...],
    candidates: Path | None,
    as_json: bool,
) -> None:
    """Group the mistakes of RUN, a run folder or a model, by what they have in common.

    RUN is the folder of 'vqazoo train', a zoo name, dir:PATH or hub:OWNER/NAME. Groups are made by
    type, length, frequency of the right answer, answerability, and pictures that look alike.

    Example: vqazoo errors runs/first --out mistakes.html
    """
    from vqazoo.data import open_dataset, usable
    from vqazoo.errors import ConfigError, DataError
    from vqazoo.evaluation.answering import Asking
    from vqazoo.evaluation.mistakes import group_mistakes, write_page
    from vqazoo.files.writing import RECIPE, write_file
    from vqazoo.zoo.models import find, load_found

    if predictions is not None and (decode or candidates is not None):
        raise click.UsageError("--decode and --candidates ask the model: leave out --predictions.")
    options, chosen = asked(decode, candidates)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out is '{out}', but a file that ends in .html was expected.")
    page = None if as_json and out is None else out or Path(PAGE)
    model = _model_of(run)
    there = find(model, names=(RECIPE,))
    args: dict[str, Any] = {}
    if data is None:
        data, args, trained_split = _trained_on(model, there)
        split = split or trained_split
    split = split or "test"
    reader = open_dataset(data, dataset_args(data, args, data_root, assignments))
    reader.check_split(split)
    missing = (page or Path(PAGE)).with_name("missing-images.txt")
    examples, left_out = usable(reader.read(split), skip_missing, missing)
    if left_out:
        _say(f"Left out {left_out:,} questions without a picture, listed in '{missing}'.")
    loaded = load_found(there)
    asking = Asking(options, chosen)
    answers, looks = _answered(loaded, examples, predictions, device, cache, asking)
    known = loaded.answers if len(loaded.answers) else None
    found = group_mistakes(examples, answers, run, data, split, known, looks)
    if page is not None:
        content = write_page(found, "" if no_pictures else _licence(data), not no_pictures)
        try:
            write_file(page, content.encode())
        except OSError as error:
            raise DataError(
                f"'{page}' cannot be written ({error}): choose another --out."
            ) from error
        _say(f"Wrote '{page}': open it in a browser.")
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


def _model_of(run: str) -> str:
    """The model's reference: of a run folder its best checkpoint, of another folder itself."""
    from vqazoo.files.writing import BEST

    folder = Path(run.removeprefix("dir:")).expanduser()
    if (folder / BEST).is_dir():
        return f"dir:{folder / BEST}"
    return f"dir:{folder}" if folder.is_dir() and ":" not in run else run


def _trained_on(model: str, found: Found) -> tuple[str, dict[str, Any], str]:
    """Dataset, its arguments and the test split of a model's recipe.

    Raises:
        ConfigError: the model has no recipe.
    """
    from vqazoo.errors import ConfigError
    from vqazoo.zoo.recipes import trained_on

    if found.folder is None:
        raise ConfigError(
            f"'{model}' was published without a recipe of vqazoo: name the dataset with --data."
        )
    data = trained_on(found.folder)
    return data.type, dict(data.args), data.test_split


def _answered(
    model: VQAModel,
    examples: Sequence[Example],
    predictions: Path | None,
    device: str,
    cache: str,
    asking: Asking,
) -> tuple[Sequence[Answer], Clusters]:
    """The answers, from a file or the model, and clusters of the pictures."""
    from vqazoo.evaluation.answering import answer_split
    from vqazoo.evaluation.mistakes.similarity import cluster, picture_vectors
    from vqazoo.evaluation.predictions import read_predictions
    from vqazoo.features.sources import CachedImages
    from vqazoo.model import pick_device

    model.to(pick_device(device)).eval()
    images = CachedImages(model, examples, progress, cache, _say)
    if predictions is not None:
        answers = read_predictions(predictions, examples)
    else:
        answers = answer_split(model, examples, asking, progress, cache, _say, images)
    vectors = picture_vectors(images, len(examples))
    return answers, cluster(vectors, [example.image for example in examples])


def _licence(data: str) -> str:
    """What to heed before the page is passed on."""
    from vqazoo.registry import registry

    manifest = registry.manifest("dataset", data)
    if manifest.shows_pictures:
        return ""
    said = f" ({manifest.license})" if manifest.license else ""
    return (
        f"This page holds small copies of pictures of '{data}'{said}, which may not be passed on "
        f"freely: keep it to yourself, or make it again with --no-pictures."
    )


def _print(found: Mistakes) -> None:
    """The groups that cost most, of each grouping."""
    say(
        f"{found.count:,} of {len(found.scores):,} answers are mistakes; "
        f"{found.measure} {found.score:.2%}."
    )
    rows = [
        (
            grouping.title,
            group.name,
            f"{group.questions:,}",
            f"{group.score:.2%}",
            f"{100 * group.cost:.2f}",
        )
        for grouping in found.groupings
        for group in grouping.groups[:PRINTED]
    ]
    right = ("questions", found.measure, "cost in points")
    print_table(("grouped by", "group", *right), rows, right=right)


def _say(line: str) -> None:
    say(line, err=True)
