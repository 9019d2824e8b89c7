"""`vqazoo data`: what a dataset holds, fetching its official files, and handing it to others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqazoo.cli.completion import complete_part
from vqazoo.cli.data_init import init
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import (
    DATA_ROOT,
    JSON,
    SKIP_MISSING,
    canonical,
    dataset_args,
    make_folder,
)
from vqazoo.cli.output import print_json, progress, say

if TYPE_CHECKING:
    from vqazoo.data.report import DataReport

SHOWN_TYPES = 6  # question types printed


@click.group()
def data() -> None:
    """Look at datasets, fetch their official files, export them."""


data.add_command(init)


@data.command(cls=ExampleCommand)
@click.argument("name", shell_complete=complete_part("dataset"), callback=canonical("dataset"))
@DATA_ROOT
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Argument of the dataset, such as train=my.csv; may be repeated.",
)
@click.option(
    "--decode/--no-decode",
    default=None,
    help="Open every picture to find broken files, or none; default: up to 2,000 of a split.",
)
@click.option(
    "--list",
    "list_file",
    type=click.Path(path_type=Path),
    help="Write the paths of missing and broken pictures to this file.",
)
@JSON
def info(
    name: str,
    data_root: str | None,
    assignments: tuple[str, ...],
    decode: bool | None,
    list_file: Path | None,
    as_json: bool,
) -> None:
    """Count what the dataset NAME holds, and warn of what would spoil a score.

    Example: vqazoo data info {dataset}
    """
    from vqazoo.data import open_dataset
    from vqazoo.data.own_files import TRAIN, dataset_of_file
    from vqazoo.data.report import report_on
    from vqazoo.errors import DataError
    from vqazoo.registry import registry

    name, given = dataset_of_file(name, TRAIN)
    reader = open_dataset(name, dataset_args(name, given, data_root, assignments))
    manifest = registry.manifest("dataset", name)
    if not reader.splits():
        root = "" if data_root is None else f" in '{data_root}'"
        fetch = f", or fetch the files with  vqazoo data prepare {name} --data-root DIR"
        raise DataError(
            f"No split of '{name}' was found{root}: check --data-root"
            f"{fetch if manifest.prepare else ''}."
        )
    if list_file is not None:
        make_folder(list_file.absolute().parent)
    report = report_on(
        reader,
        manifest.counts,
        decode,
        lambda line: say(line, err=True),
        manifest.other_counts,
        progress,
    )
    if list_file is not None:
        from vqazoo.files.writing import write_file

        write_file(list_file, "".join(f"{p}\n" for p in [*report.missing, *report.broken]).encode())
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    _warn(report)


def _print(report: DataReport) -> None:
    for name, split in report.splits.items():
        say(f"{name}:")
        differs = split.official is not None and split.official != split.questions
        release = f" (official release: {split.official:,})" if differs else ""
        broken = (
            "broken ones not looked for (--decode)"
            if split.broken_images is None
            else f"{split.broken_images:,} broken"
        )
        shared = ", ".join(f"{c:,} with {n}" for n, c in split.answers_per_question.items())
        lines = {
            "questions": f"{split.questions:,}{release}, {split.distinct_questions:,} distinct",
            "images": f"{split.images:,} distinct, {split.missing_images:,} missing, {broken}",
            "answers": f"questions by number of answers: {shared}",
        }
        if split.distinct_answers:
            top = ", ".join(
                f"{text} {count / split.questions:.1%}" for text, count in split.top_answers.items()
            )
            lines["selected answers"] = f"{split.distinct_answers:,} distinct; {top}"
            if split.coverage:
                shares = ", ".join(
                    f"{share:.1%} by the {size} most frequent"
                    if size.isdigit()
                    else f"{share:.1%} by {size}"
                    for size, share in split.coverage.items()
                )
                lines["answer coverage"] = f"{shares}, of those of '{report.training_split}'"
        if split.answer_types:
            lines["answer types"] = _counts(split.answer_types)
        if split.question_types:
            lines["question types"] = _counts(split.question_types)
        if split.unanswerable is not None:
            share = split.unanswerable / split.questions
            lines["unanswerable"] = f"{split.unanswerable:,} ({share:.1%})"
        for label, text in lines.items():
            say(f"  {label:17} {text}")


def _counts(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:SHOWN_TYPES])
    return shown + (f", and {len(counts) - SHOWN_TYPES} more" * (len(counts) > SHOWN_TYPES))


def _pictures(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count:,} pictures are"


def _warn(report: DataReport) -> None:
    if report.training_split is None and any(split.top_answers for split in report.splits.values()):
        say(
            f"Note: none of the splits {', '.join(report.splits)} is named train, so how much of "
            f"the answers a list learnt from it covers was not measured.",
            err=True,
        )
    for pair, count in report.shared_images.items():
        say(
            f"Warning: {_pictures(count)} in both {pair}: scores on one after training on the "
            f"other are too high; split again by picture.",
            err=True,
        )
    for split, doubts in report.doubts.items():
        for doubt in doubts:
            say(f"Warning: '{split}': {doubt}.", err=True)
    for paths, what in ((report.missing, "missing"), (report.broken, "broken")):
        if paths:
            say(
                f"Warning: {_pictures(len(paths))} {what}, such as '{paths[0]}' "
                f"(all of them: --list FILE).",
                err=True,
            )


@data.command(cls=ExampleCommand)
@click.argument("name", shell_complete=complete_part("dataset"), callback=canonical("dataset"))
@click.option("--data-root", required=True, type=click.Path(path_type=Path), help="Where to.")
@JSON
def prepare(name: str, data_root: Path, as_json: bool) -> None:
    """Fetch, verify and unpack the official files of the dataset NAME, or make them from others.

    Downloads are resumed, checked against known checksums and unpacked safely. What a dataset
    is made from is looked for in the data root.
    """
    from vqazoo.errors import ConfigError
    from vqazoo.registry import load_object, registry

    manifest = registry.manifest("dataset", name)
    family, _, variant = name.partition(":")
    if variant and not manifest.variant:
        raise ConfigError(
            f"The dataset '{family}' takes nothing, but {variant!r} was given: write '{family}'."
        )
    if not manifest.prepare:
        able = [
            known
            for known in registry.names("dataset")
            if registry.manifest("dataset", known).prepare
        ]
        raise ConfigError(
            f"There is nothing to fetch for the dataset '{name}': it is generated, installed or "
            f"yours; datasets that are fetched are {', '.join(able)}."
        )
    make_folder(data_root)
    with told_when_interrupted(
        lambda: "run the same command again; what was fetched whole is not fetched twice."
    ):
        load_object(manifest.prepare)(name, data_root, lambda line: say(line, err=True))
    if as_json:
        print_json({"name": name, "data_root": str(data_root)})
        return
    say(f"'{name}' is ready: vqazoo data info {name} --data-root {data_root}")


@data.command(cls=ExampleCommand)
@click.argument("name", shell_complete=complete_part("dataset"), callback=canonical("dataset"))
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="Where to.")
@click.option("--split", "splits", multiple=True, help="Only this one; may be repeated.")
@DATA_ROOT
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Argument of the dataset, such as train=my.csv; may be repeated.",
)
@SKIP_MISSING
@JSON
def export(
    name: str,
    folder: Path,
    splits: tuple[str, ...],
    data_root: str | None,
    assignments: tuple[str, ...],
    skip_missing: bool,
    as_json: bool,
) -> None:
    """Write the dataset NAME as parquet, one file a split, with its pictures inside.

    Such a folder is read by the package datasets, and by vqazoo as the dataset
    {folders}:FOLDER. How answers are compared is left out.

    Example: vqazoo data export {official} --data-root DIR --to exported
    """
    from vqazoo.data import open_dataset, usable
    from vqazoo.data.examples import MISSING_IMAGES
    from vqazoo.data.own_files import TRAIN, dataset_of_file
    from vqazoo.evaluation.tables import write_parquet

    name, given = dataset_of_file(name, TRAIN)
    reader = open_dataset(name, dataset_args(name, given, data_root, assignments))
    wanted = splits or tuple(reader.splits()) or ("train",)  # that there is none is an error below
    for split in wanted:
        reader.check_split(split)
    make_folder(folder)
    written = {}
    for split in wanted:
        examples, left_out = usable(
            reader.read(split), skip_missing, folder / MISSING_IMAGES, progress
        )
        file = folder / f"{split}.parquet"
        write_parquet(examples, file, progress)
        written[split] = {"file": str(file), "questions": len(examples), "left_out": left_out}
        say(f"{len(examples):,} questions in '{file}'.", err=as_json)
    if as_json:
        print_json(written)
