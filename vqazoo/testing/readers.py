"""The contract of dataset readers. Imports torch, as the other checks do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError, PluginError, UnknownNameError
from vqazoo.manifests import DatasetManifest
from vqazoo.testing.checks import check_signature, require
from vqazoo.testing.parts import builder, identify, variant_of

NO_SPLIT = "no-such-split"
CONFIDENCES = ("yes", "maybe", "no")


def check_reader(
    part: str | type[DatasetReader] | DatasetReader,
    *,
    manifest: DatasetManifest | None = None,
    splits: Sequence[str] = (),
    **args: Any,
) -> None:
    """Run a reader on files that are there through its contract.

    Args:
        part: its registered name (`name` or `name:variant`), its class, or a reader that was built.
        manifest: of a class that is not installed.
        splits: those to read; default: all that are there.
        args: some of its arguments, such as data_root; the others take their defaults.

    Raises:
        AssertionError: a split that is named cannot be read, or one that is not can; a question,
            answer or id is no text, an id occurs twice, a picture is no path, a label has another
            type; or reading again, or streaming, gives other examples, or in another order.
        DataError: the files themselves cannot be used.
    """
    owner, known, component = identify(DatasetManifest, part, manifest)
    variant = variant_of(part)
    context = [] if variant is None else [variant]
    if isinstance(component, type) and known is not None:
        positional = ["variant"] if known.variant else []
        check_signature(owner, known, component, positional)
    build = builder(owner, known, component, args, *context)
    reader: DatasetReader = build(0)
    there = reader.splits()
    require(
        isinstance(there, list) and all(isinstance(name, str) for name in there),
        owner,
        f"splits() must be a list of names, but is {there!r}",
    )
    require(bool(there), owner, "splits() names no split: check the files that it was given")
    require(len(set(there)) == len(there), owner, f"splits() repeats a name: {there}")
    require(reader.splits() == there, owner, "splits() varies between calls")
    _check_unknown_split(owner, reader)
    for split in splits or there:
        where = f"{owner}, split '{split}'"
        examples = _read(where, reader, split)
        _check_examples(where, examples)
        require(_read(where, reader, split) == examples, where, "read again, it gives other rows")
        again = _read(where, build(0), split)
        require(again == examples, where, "another reader of the same files gives other rows")
        streamed = [(e.image, e.question, e.question_id, e.choices) for e in reader.stream(split)]
        read = [(e.image, e.question, e.question_id, e.choices) for e in examples]
        require(
            streamed == read,
            where,
            "stream() gives other pictures, questions or choices than read()",
        )


def _read(where: str, reader: DatasetReader, split: str) -> list[Example]:
    """The examples; what an Example refuses, such as answers that are numbers, is a fault here."""
    try:
        examples = reader.read(split)
    except PluginError as error:  # that names the reader, and has what it raised as its cause
        if (cause := error.__cause__) is None:
            raise AssertionError(f"{where}: {error}") from error
        raise AssertionError(
            f"{where}: it cannot be read ({type(cause).__name__}: {cause}): raise a DataError that "
            f"says what is wrong with the files."
        ) from error
    strange = (
        [given for given in examples if not isinstance(given, Example)]
        if isinstance(examples, list)
        else []
    )
    require(
        isinstance(examples, list) and not strange,
        where,
        f"read() must give a list of Examples, but gives a {type(examples).__name__}"
        + (f" with a {type(strange[0]).__name__}" if strange else ""),
    )
    require(bool(examples), where, "it is named by splits(), but has no example")
    return examples


def _raised(error: Exception) -> str:
    """The kind of what a reader raised, which an error that names it has as its cause."""
    return type(error.__cause__ if isinstance(error, PluginError) else error).__name__


def _check_unknown_split(owner: str, reader: DatasetReader) -> None:
    try:
        reader.read(NO_SPLIT)
    except (UnknownNameError, DataError):
        return
    except Exception as error:  # whatever it is, it is a fault of the reader that is checked
        raise AssertionError(
            f"{owner}: a split that is not there gives a {_raised(error)}: call "
            f"self.check_split(split) first in read()."
        ) from error
    require(False, owner, f"it reads the split '{NO_SPLIT}', which is not there")


def _check_examples(where: str, examples: Sequence[Example]) -> None:
    seen: set[str] = set()
    for number, example in enumerate(examples):
        row = f"{where}, example {number}"
        for name in ("question", "question_id", "answer_type", "question_type", "group"):
            value = getattr(example, name)
            require(isinstance(value, str), row, f"{name} is {value!r}, but text was expected")
        require(bool(example.question.strip()), row, "its question is empty")
        require(bool(example.question_id), row, "its question_id is empty")
        twice = example.question_id in seen
        require(not twice, row, f"question_id {example.question_id!r} occurs twice in the split")
        seen.add(example.question_id)
        require(
            isinstance(example.image, Path),
            row,
            f"image is {example.image!r}, but a pathlib.Path was expected",
        )
        _check_labels(row, example)


def _check_labels(row: str, example: Example) -> None:
    require(
        isinstance(example.answers, tuple),
        row,
        f"answers is a {type(example.answers).__name__}, but a tuple of texts was expected",
    )
    require(
        isinstance(example.choices, tuple) and len(example.choices) != 1,
        row,
        f"choices is {example.choices!r}, but a tuple of two texts or more, or of none, was "
        f"expected",
    )
    require(
        example.answerable is None or isinstance(example.answerable, bool),
        row,
        f"answerable is {example.answerable!r}, but True, False or None was expected",
    )
    require(
        not example.confidences or len(example.confidences) == len(example.answers),
        row,
        f"{len(example.confidences)} confidences for {len(example.answers)} answers",
    )
    strange = [confidence for confidence in example.confidences if confidence not in CONFIDENCES]
    require(not strange, row, f"a confidence is {strange[:1]}, but yes, maybe or no was expected")
    require(not example.targets, row, "targets are set by an answer rule, not by a reader")
