"""`vqazoo errors`: a model's mistakes on a split, grouped, in one page that needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqazoo.amounts import count, percent
from vqazoo.cli.completion import complete_model
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.options import (
    CACHED_FEATURES,
    DEVICE_OR_AUTO,
    JSON,
    data_options,
    decode_flags,
    decode_request,
    given_args,
    uncalibrated,
)
from vqazoo.cli.output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vqazoo.evaluation.mistakes import Mistakes

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
@DEVICE_OR_AUTO
@CACHED_FEATURES
@decode_flags()
@uncalibrated
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
    uncalibrated: bool,
    as_json: bool,
) -> None:
    """Group the mistakes of RUN, a run folder or a model, by what they have in common.

    RUN is the folder of 'vqazoo train', a zoo name, dir:PATH or hub:OWNER/NAME. Groups are made by
    type, length, frequency of the right answer, answerability, and pictures that look alike. Run
    the same command again after an interruption: it goes on with what is kept in the folder
    FILE.html.parts, and the page is the same in the end.

    Example: vqazoo errors runs/first --out mistakes.html
    """
    from vqazoo.errors import ConfigError
    from vqazoo.evaluation.answering import Asking
    from vqazoo.evaluation.mistakes import check_page_place
    from vqazoo.evaluation.mistakes.search import PageParts, find_mistakes
    from vqazoo.evaluation.predictions import read_predictions
    from vqazoo.zoo.evaluate import subject

    if predictions is not None and (decode or candidates is not None):
        raise click.UsageError("--decode and --candidates ask the model: leave out --predictions.")
    options, chosen = decode_request(decode, candidates)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out is '{out}', but a file that ends in .html was expected.")
    page = None if as_json and out is None else out or Path(PAGE)
    if page is not None:
        check_page_place(page)
    missing = page and page.with_name(f"{page.stem}-missing-images.txt")
    args = given_args(data_root, assignments)
    there = subject(run, data, split or "", args, skip_missing, missing, _say)
    questions = there.questions
    answers = None if predictions is None else read_predictions(predictions, questions.examples)
    asking = Asking(options, chosen, not uncalibrated)
    parts = PageParts(page) if page is not None and answers is None else None
    kept = "encoded pictures" + (" and given answers" if parts else "")
    with told_when_interrupted(lambda: f"run the same command again; {kept} are kept."):
        model = there.load(device)
        mistakes = find_mistakes(
            model, questions, run, asking, answers, cache, _say, progress, parts
        )
        if page is not None:
            _write(page, mistakes, questions.data, not no_pictures)
    if parts is not None:
        parts.tidy()
    if as_json:
        print_json(mistakes.to_json())
    else:
        _print(mistakes)


def _write(page: Path, mistakes: Mistakes, data: str, pictures: bool) -> None:
    from vqazoo.errors import DataError
    from vqazoo.evaluation.mistakes import write_page
    from vqazoo.files.writing import write_file

    content = write_page(mistakes, _licence(data) if pictures else "", pictures)
    try:
        write_file(page, content.encode())
    except OSError as error:
        raise DataError(f"'{page}' cannot be written ({error}): choose another --out.") from error
    _say(f"Wrote '{page}': open it in a browser.")


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


def _print(mistakes: Mistakes) -> None:
    """The groups that cost most, of each grouping."""
    say(
        f"{mistakes.count:,} of {len(mistakes.scores):,} answers are mistakes; "
        f"{mistakes.measure} {mistakes.score:.2%} (95% interval {_between(mistakes.interval)}). "
        f"The cost of a group is what it takes from the score, in points."
    )
    rows = [
        (
            grouping.title,
            group.name,
            count(group.questions),
            percent(group.score),
            _between(group.interval),
            f"{100 * group.cost:.2f}",
        )
        for grouping in mistakes.groupings
        for group in grouping.groups[:PRINTED]
    ]
    right = ("number", mistakes.measure, "95% interval", "cost")
    print_table(("grouped by", "group", *right), rows, right=right)


def _between(interval: tuple[float, float] | None) -> str:
    return " to ".join(percent(end, 0) for end in interval or ())


def _say(line: str) -> None:
    say(line, err=True)
