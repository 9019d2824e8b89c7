"""`vqazoo data init`: what a user's own file or folder holds, and settings that read it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqazoo.cli.options import JSON, given_args
from vqazoo.cli.output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vqazoo.data.doubts import Doubt
    from vqazoo.data.first_look import FirstLook
    from vqazoo.manifests import DatasetManifest

SHOWN = 3  # rows
NOT_THERE = "rows whose picture is not there"
DAMAGED = "rows whose picture cannot be opened"
MANY = 0.5  # share of rows without a picture from which on the folder is not the right one
NAMED = 5  # rows that cannot be read whose fault is told in full


@click.command()
@click.argument("place", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("mine.toml"),
    show_default=True,
    help="File of data settings to write, for --data.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="How to read it where the guess is wrong, such as answer_column=said.",
)
@JSON
def init(place: Path, out: Path, assignments: tuple[str, ...], as_json: bool) -> None:
    """Look at PLACE, your table or a folder of pictures, and write settings that read it.

    Shows which column is what, three rows, and every row that seems wrong. Then
    --data mine.toml  names these data for every verb.
    """
    from vqazoo.errors import DataError
    from vqazoo.files.writing import write_file
    from vqazoo.registry import load_object

    manifest = _manifest(place)
    looked: FirstLook = load_object(manifest.look)(place, given_args(None, assignments))
    for table in looked.made:
        if table.exists():
            raise DataError(f"'{table}' is there already: name it instead of the folder.")
    doubts = _doubts(looked)
    validating = "validation" in looked.splits and "train" in looked.splits
    text = _settings(looked, manifest, out, validating)
    if out.exists() and not _holds(out, text):
        raise DataError(f"'{out}' is there already: name another file with --out, or remove it.")
    try:
        for table, content in looked.made.items():
            write_file(table, content.encode())
        write_file(out, text.encode())
    except OSError as error:
        raise DataError(f"'{out}' cannot be written ({error}): name another with --out.") from error
    if as_json:
        print_json(_as_json(looked, doubts, out))
    else:
        _print(looked, doubts, out, text)


def _holds(out: Path, text: str) -> bool:
    """Whether a file is what would be written: of a table that was corrected and looked at anew."""
    try:
        return out.read_bytes() == text.encode()
    except OSError:
        return False


def _manifest(place: Path) -> DatasetManifest:
    from vqazoo.errors import DataError
    from vqazoo.manifests import DatasetManifest
    from vqazoo.registry import registry

    if not place.exists():
        raise DataError(f"'{place}' does not exist: name your table, or a folder of pictures.")
    looking = [manifest for _, manifest in registry.usable(DatasetManifest) if manifest.look]
    suffix = place.suffix.lower()
    for manifest in looking:
        if place.is_dir() or suffix in manifest.suffixes:
            return manifest
    known = sorted({suffix for manifest in looking for suffix in manifest.suffixes})
    raise DataError(
        f"'{place}' ends in '{suffix}', but a folder or a table was expected ({', '.join(known)}): "
        f"save it as one of these."
    )


def _doubts(looked: FirstLook) -> dict[str, list[Doubt]]:
    """What seems wrong with the rows of each split, their pictures included."""
    from vqazoo.data.damage import unreadable
    from vqazoo.data.doubts import Doubt, doubts_of
    from vqazoo.data.examples import is_there
    from vqazoo.data.leaks import shared_pictures

    doubts: dict[str, list[Doubt]] = {}
    for split, read in looked.splits.items():
        images = {example.image for example in read.examples}
        missing = {image for image in images if not is_there(image)}
        damaged = set(unreadable(sorted(images - missing), progress))
        learnt = looked.splits.get("train")
        both: set[Path] = set()
        if split != "train" and learnt is not None:
            both = set(shared_pictures({e.image for e in learnt.examples}, images))
        places = list(zip(read.examples, read.places, strict=True))
        doubts[split] = [
            Doubt(what, rows, read.unit)
            for what, bad in (
                (NOT_THERE, missing),
                (DAMAGED, damaged),
                ("rows whose picture is also in train, which makes their score too good", both),
            )
            if (rows := tuple(place for example, place in places if example.image in bad))
        ]
        doubts[split] += doubts_of(read.examples, read.places, read.unit)
    return doubts


def _settings(looked: FirstLook, manifest: DatasetManifest, out: Path, validating: bool) -> str:
    """The settings as TOML, with paths from their own folder."""
    folder = out.absolute().parent
    lines = [
        f"# Data settings: vqazoo train --data {out.name} ..., vqazoo data info {out.name}",
        f"type = {json.dumps(looked.dataset)}",
    ]
    if validating:
        lines.append('validation_split = "validation"')
    lines += ["", "[args]"]
    for name, value in looked.args.items():
        if name in manifest.paths:
            value = Path(os.path.relpath(os.path.abspath(value), folder)).as_posix()
        lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _print(looked: FirstLook, doubts: Mapping[str, Sequence[Doubt]], out: Path, text: str) -> None:
    from vqazoo.amounts import counted
    from vqazoo.data.doubts import Doubt

    for note in looked.notes:
        say(note)
    for table in looked.made:
        say(f"Wrote '{table}'.")
    if looked.columns:
        named = {name.removesuffix("_column"): column for name, column in looked.columns.items()}
        say("Columns: " + ", ".join(f"{name} = {column!r}" for name, column in named.items()))
    for split, read in looked.splits.items():
        pictures = counted(len({example.image for example in read.examples}), "picture")
        say(f"{split}: {counted(len(read.examples), 'question')} about {pictures}")
    first = next(iter(looked.splits.values()), None)
    if first is not None and first.examples:
        shown = [
            (str(place), e.image.name, e.question, " | ".join(e.answers))
            for e, place in zip(first.examples[:SHOWN], first.places, strict=False)
        ]
        print_table((first.unit, "image", "question", "answer"), shown)
    for split, read in looked.splits.items():
        if read.wrong:
            places = tuple(place for place, _ in read.wrong)
            say(f"{split}, {Doubt('rows that cannot be used', places, read.unit)}")
            for _, what in read.wrong[:NAMED]:
                say(f"  {what}")
        for doubt in doubts[split]:
            say(f"{split}, {doubt}")
    say(f"Wrote '{out}':")
    say(text, lines=True)
    for line in _next(looked, doubts, out):
        say(line)


def _next(looked: FirstLook, doubts: Mapping[str, Sequence[Doubt]], out: Path) -> list[str]:
    """What to do now: what stands in the way of training, or the command that trains."""
    if not looked.splits:
        return []
    told = []
    if any(read.wrong for read in looked.splits.values()):
        told.append("Correct or remove the rows that cannot be used: every verb refuses them.")
    there = [doubt for listed in doubts.values() for doubt in listed]
    missing = sum(len(doubt.rows) for doubt in there if doubt.what == NOT_THERE)
    if missing and missing >= MANY * sum(len(read.examples) for read in looked.splits.values()):
        return [
            *told,
            "Most pictures are not there: say where they lie with  --set image_root=FOLDER  (and "
            "how they are named with  --set image_pattern={id}.jpg ).",
        ]
    learnt = looked.splits.get("train")
    if learnt is not None and learnt.wrong and not learnt.examples:
        return told  # the rows say themselves what is wrong with them
    if learnt is None or not any(example.answers for example in learnt.examples):
        return [
            *told,
            "No row to learn from has an answer. If there is a column of answers, name it with  "
            "--set answer_column=NAME ; if the first line is a row, put one with names above it.",
        ]
    bad = any(doubt.what in (NOT_THERE, DAMAGED) for doubt in there)
    skipped = " --skip-missing" if bad else ""
    return [
        *told,
        f"Next: vqazoo suggest --data {shlex.quote(str(out))}{skipped}  tries which parts suit "
        f"these data"
        f"{'; --skip-missing leaves out the rows whose picture is not there or damaged' * bad}.",
    ]


def _as_json(looked: FirstLook, doubts: Mapping[str, Sequence[Doubt]], out: Path) -> dict[str, Any]:
    return {
        "settings": str(out),
        "dataset": looked.dataset,
        "columns": dict(looked.columns),
        "notes": list(looked.notes),
        "splits": {
            split: {
                "questions": len(read.examples),
                "unusable": [{read.unit: place, "why": what} for place, what in read.wrong],
                "doubts": [{"what": d.what, f"{d.unit}s": list(d.rows)} for d in doubts[split]],
            }
            for split, read in looked.splits.items()
        },
    }
