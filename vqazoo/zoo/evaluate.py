"""`vqazoo.evaluate`: a model, or a reference to one, asked all the questions of a split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from vqazoo.data import DatasetReader, Example, open_dataset, split_by_image
from vqazoo.data.answers import apply_rule
from vqazoo.data.leaks import find_leak
from vqazoo.data.own_files import SETTINGS, TEST, dataset_of_file
from vqazoo.errors import ConfigError, UnknownNameError, VqazooError
from vqazoo.files.writing import RECIPE
from vqazoo.keywords import names_keywords
from vqazoo.progress import Progress, Report, unshown
from vqazoo.registry import registry
from vqazoo.zoo.held_out import held_out_questions
from vqazoo.zoo.models import Found, find, load, load_found
from vqazoo.zoo.recipes import run_recipe_of, trained_on

if TYPE_CHECKING:
    from vqazoo.evaluation.evaluation import Evaluation
    from vqazoo.evaluation.split import Questions
    from vqazoo.model import VQAModel


Data = str | DatasetReader | Iterable[Any]


class UnnamedDataError(ConfigError):
    """No data is named, and nothing says which a model was trained on."""


@dataclass(frozen=True)
class Subject:
    """A model that was found, and the questions that it is to be asked; it is not loaded yet."""

    reference: str
    found: Found
    questions: Questions

    def load(self, device: str = "auto", dtype: str = "float32") -> VQAModel:
        """The model, in eval mode on the device of that name.

        Args:
            dtype: of a published checkpoint, as for `vqazoo.load`.

        Raises:
            As `vqazoo.load`.
        """
        from vqazoo.interfaces import LoadOptions
        from vqazoo.model import pick_device
        from vqazoo.zoo.models import check_options

        options = LoadOptions(dtype)
        check_options(options)
        if self.found.published is None and options != LoadOptions():
            raise ConfigError(
                f"The model {self.reference!r} is a checkpoint of vqazoo, which is loaded in "
                f"float32: leave out dtype."
            )
        return load_found(self.found, options).to(pick_device(device))


def subject(
    reference: str,
    data: str | DatasetReader | None = None,
    split: str = "",
    data_args: Mapping[str, Any] | None = None,
    skip_missing: bool = False,
    missing: Path | None = None,
    report: Report = print,
    look: bool = True,
) -> Subject:
    """Find a model and read the questions, before anything large is loaded.

    Args:
        data, split, data_args: as for `evaluate`; the rest: as for `read_split`.

    Raises:
        UnnamedDataError: no data is named, and the model has no recipe that names some.
        VqazooError: as `vqazoo.load`, and as `read_split`.
    """
    from vqazoo.evaluation.split import read_split

    checkpoint = find(reference, names=(RECIPE,))
    chosen = chosen_data(reference, checkpoint, data, split, data_args)
    try:
        read = read_split(*chosen, skip_missing, missing, report, look)
    except UnknownNameError:
        own = checkpoint.folder if data is None else None
        held_out = None if own is None else held_out_questions(own, chosen[1], split, report)
        if held_out is None:
            raise
        return Subject(reference, checkpoint, held_out)
    if checkpoint.folder is not None:
        tell_leak(checkpoint.folder, read.examples, report)
    return Subject(reference, checkpoint, read)


def tell_leak(folder: Path, asked: Sequence[Example], report: Report) -> None:
    """Report which questions are about pictures that the model of a folder learnt from.

    Where its training data are not on this machine, nothing can be compared, and nothing is said.
    """
    try:
        config = run_recipe_of(folder)
        data = config.data
        learnt = open_dataset(data.type, data.args).read(data.train_split)
        if not data.validation_split:  # a part of the pictures was kept for validation
            learnt = apply_rule(data.answer_rule, learnt, config.seed)
            learnt, _ = split_by_image(learnt, data.validation_fraction, config.seed)
    except VqazooError:
        return
    leak = find_leak(learnt, asked)
    if leak:
        report(
            f"Warning: {leak.told('questions')}: the score says how well the model remembers, and "
            f"is too high for pictures that it has not seen."
        )


def chosen_data(
    reference: str,
    checkpoint: Found,
    data: str | DatasetReader | None,
    split: str,
    data_args: Mapping[str, Any] | None,
) -> tuple[str | DatasetReader, dict[str, Any], str]:
    """The data, its arguments and the split: those that are given, else those of the recipe.

    Raises:
        UnnamedDataError: no data is named, and the model has no recipe that names some.
    """
    args: dict[str, Any] = {}
    if data is None:
        if checkpoint.folder is None:
            raise UnnamedDataError(
                f"'{reference}' was published without a recipe of vqazoo: name the dataset with "
                f"--data."
            )
        own = trained_on(checkpoint.folder)
        data, args, split = own.type, dict(own.args), split or own.test_split
    split = split or TEST
    if isinstance(data, str):
        whole = Path(data).suffix.lower() == SETTINGS  # which names its columns by itself
        data, given = dataset_of_file(data, split)
        folder = checkpoint.folder
        if given and not whole and folder is not None and (folder / RECIPE).is_file():
            own = trained_on(folder)  # whose columns have the same names, most likely
            args |= own.args if own.type == data else {}
        args |= given
    return data, args | dict(data_args or {}), split


@names_keywords
def evaluate(
    model: str | VQAModel,
    data: Data | None = None,
    split: str = "",
    *,
    data_args: Mapping[str, Any] | None = None,
    decode: Mapping[str, Any] | None = None,
    candidates: Sequence[str] | None = None,
    calibrated: bool = True,
    abstain_at_risk: float | None = None,
    skip_missing: bool = False,
    missing: str | Path | None = None,
    wups: bool | None = None,
    metrics: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    device: str = "auto",
    dtype: str = "float32",
    cache: str | Path = "",
    checks: bool = False,
    checks_rows: int = 1000,
    report: Report = print,
    progress: Progress = unshown,
) -> Evaluation:
    """Ask a model every question of a split and score the answers, as `vqazoo eval` does.

    Args:
        model: a model, or a reference as `vqazoo.load` takes it.
        data: name of a dataset, or a file such as my.csv; a reader of one; examples that a reader
            read; or a table as `VQAModel.predict` takes it. None: what the recipe of a referenced
            model names.
        split: which split; default: the recipe's test split with its data, else `test`. Of
            examples and tables it is only a name in signatures, by default `all`.
        data_args: arguments of a dataset that is named, such as {"data_root": "DIR"}.
        decode: options of the head, as `VQAModel.answer` takes them.
        candidates: the answers to choose from, in place of writing or picking one.
        calibrated, abstain_at_risk: as `VQAModel.answer` takes them; of answers that are held back,
            what they were is scored, and the share and risk of the others.
        skip_missing: leave out questions whose picture is missing or damaged, and report it.
        missing: the file in which such pictures are listed; None: nowhere.
        wups: whether to compute WUPS; None: where it is usual for the dataset.
        metrics: names of metrics (`vqazoo list metrics`) to compute beside those of the dataset; or
            a table of them with their arguments, such as {"gqa-choices": {"choices": "FILE"}}.
        device: of a referenced model; one that is given stays where it is.
        dtype: of a referenced published checkpoint, as for `vqazoo.load`.
        cache: folder of cached features; default: vqazoo's own. A table is not cached.
        checks: whether to check what the score rests on: the same questions about blank, strange
            and damaged pictures, in shuffled words, and more; in `Evaluation.checks`.
        checks_rows: how many questions that asks at most, drawn by picture.
        report: receives lines of text about what was left out.
        progress: shows steps of encoding.

    Returns:
        Metrics with their signatures, and the answers. The model's mode, training or eval, is
        afterwards what it was, also after an error.

    Raises:
        ConfigError: an argument does not fit the others, or an option is not understood.
        DataError: a file, row or picture cannot be used, or WordNet, asked for, is not there.
        VqazooError: as `vqazoo.load`, of a reference.
    """
    from vqazoo.evaluation.answering import Asking
    from vqazoo.evaluation.checks import Checking
    from vqazoo.evaluation.split import (
        IN_MEMORY,
        WHOLE,
        Questions,
        evaluate_questions,
        evaluate_table,
        read_split,
        with_pictures,
    )
    from vqazoo.model import VQAModel

    if not isinstance(model, str | VQAModel):
        raise ConfigError(
            f"The model is a {type(model).__name__}, but a model of vqazoo or a reference to one "
            f"was expected, such as 'dir:FOLDER'."
        )
    if data_args and not isinstance(data, str | None):
        raise ConfigError(
            "data_args are given, but the data is no name of a dataset: leave them out."
        )
    wanted = named_metrics(metrics)
    checking = Checking(checks_rows) if checks else None
    asking = Asking(decode or {}, candidates, calibrated, abstain_at_risk)
    place = Path(missing) if missing else None
    reference = model if isinstance(model, str) else ""
    if data is None or isinstance(data, str | DatasetReader):
        if isinstance(model, str):
            asked = subject(model, data, split, data_args, skip_missing, place, report)
            questions, loaded = asked.questions, asked.load(device, dtype)
        elif data is None:
            raise UnnamedDataError(
                "No data is named, and a model in memory does not say what it was trained on: "
                "give data, the name of a dataset."
            )
        else:
            args = data_args or {}
            questions = read_split(data, args, split or TEST, skip_missing, place, report)
            loaded = model
    else:
        loaded = load(model, device, dtype=dtype) if isinstance(model, str) else model
        if not _are_examples(data):
            name = split or WHOLE
            return evaluate_table(
                loaded, data, name, asking, wups, report, reference, checking, progress, wanted
            )
        kept = with_pictures(data, skip_missing, place, report)
        questions = Questions(IN_MEMORY, split or WHOLE, kept)
    questions = replace(questions, metrics=wanted)
    return evaluate_questions(
        loaded, questions, asking, wups, cache, report, progress, reference, checking
    )


def named_metrics(
    metrics: Sequence[str] | Mapping[str, Mapping[str, Any]],
) -> dict[str, Mapping[str, Any]]:
    """Metrics that are asked for, in the registry's spelling, with their arguments.

    Raises:
        UnknownNameError, PluginError: no metric has the name.
        ConfigError: they are no list of names and no table of them; or an argument is not known.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Sequence | Mapping):
        raise ConfigError(
            f"metrics is {metrics!r}, but a list of names was expected, such as ['anls']."
        )
    given = metrics if isinstance(metrics, Mapping) else {name: {} for name in metrics}
    named = {registry.canonical("metric", name): dict(args) for name, args in given.items()}
    for name, args in named.items():
        registry.fill("metric", name, args)
    return dict(named)


def _are_examples(data: Iterable[Any]) -> TypeGuard[Sequence[Example]]:
    """Whether a reader read them, so that each picture is a file."""
    listed = isinstance(data, Sequence) and not isinstance(data, str | bytes) and len(data) > 0
    return listed and all(isinstance(row, Example) for row in data)
