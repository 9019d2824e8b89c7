"""The settings of a run: from a file or tables, then assignments, then flags. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from vqazoo.config import RunConfig, read_toml, run_config, set_value
from vqazoo.data import open_dataset
from vqazoo.data.columns import SPLIT_COLUMN
from vqazoo.data.own_files import SETTINGS, TRAIN, data_settings, dataset_of_file
from vqazoo.errors import ConfigError, VqazooError
from vqazoo.files.writing import RECIPE
from vqazoo.names import parse_ref, two_towers
from vqazoo.registry import registry
from vqazoo.training.default_parts import with_default_parts
from vqazoo.training.row_defaults import follow_rows
from vqazoo.training.starting import with_parts_of_start
from vqazoo.zoo.models import whole_reference

GIVEN_VALIDATION = "validation"  # an argument of datasets whose files the user names, and its split


def gather_config(
    config: str | Path | Mapping[str, Any] | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    resumed: Path | None = None,
    by_rows: bool = False,
    told: Callable[[str], None] | None = None,
) -> RunConfig:
    """The filled config from a file or tables, then assignments, then flags; parts that none of
    them names are those of the model that the run starts from.

    Without such a model, they are those of `with_default_parts` where `told` receives which.

    With `resumed`, a run folder, its recipe is what everything else changes; data of the same
    dataset only say where its files are now. With `by_rows`, the
    training split is read, and what nobody says of learning follows the number of its rows.
    """
    if config is None and resumed is not None and (resumed / RECIPE).is_file():
        config = resumed / RECIPE
    tables = read_toml(Path(config)) if isinstance(config, (str, Path)) else dict(config or {})
    for name, value in flags.items():
        if value is None:
            continue
        if isinstance(value, nn.Module | type):
            raise ConfigError(
                f"The {name} is a class or an object, but a run is repeated from its recipe, "
                f"which holds names: offer the class under one with registry.register, or train "
                f"the model of vqazoo.create in a loop of your own."
            )
        if name == "encoder":  # stands for both towers, so it replaces both
            tables.pop("image_encoder", None)
            tables.pop("text_encoder", None)
            towers = two_towers(str(value), registry.names("encoder"))
            if towers is not None:
                tables.pop("encoder", None)
                tables["image_encoder"], tables["text_encoder"] = towers
                continue
        if name == "head" and flags.get("fusion") is None:  # another head, its own default fusion
            tables.pop("fusion", None)
        anew = name == "data" and resumed is not None
        tables[name] = _with_files_of(value, tables) if anew else value
    for assignment in assignments:
        set_value(tables, _whole_key(assignment, tables))
    _read_own_file(tables)
    given = with_parts_of_start(tables)
    if told is not None and "data" in given:
        given = with_default_parts(given, told)
    filled = run_config(given)
    start = whole_reference(filled.training.start)  # which says that it is a folder of this machine
    filled = replace(filled, training=replace(filled.training, start=start))
    filled = filled if resumed is not None else _validating_on_what_is_given(filled)
    return follow_rows(filled, tables, resumed) if by_rows else filled


def _whole_key(assignment: str, tables: Mapping[str, Any]) -> str:
    """An assignment to an argument of the dataset may leave out `data.args.`, as for `eval`."""
    key = assignment.partition("=")[0].strip()
    if "." in key or key in {field.name for field in fields(RunConfig)}:
        return assignment
    name, _ = dataset_of_file(_data_table(tables).get("type", ""), TRAIN)
    if parse_ref(name).name not in registry.names("dataset"):  # which is told later
        return assignment
    known = registry.manifest("dataset", name).args
    return f"data.args.{assignment}" if key in known else assignment


def _data_table(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The table `data`, for which a name may stand; what is neither is told later."""
    data = tables.get("data")
    table = {"type": data} if isinstance(data, str) else data
    named = isinstance(table, dict) and isinstance(table.get("type", ""), str)
    return table if named and isinstance(table, dict) else {}


def _with_files_of(data: Any, tables: Mapping[str, Any]) -> Any:
    """The data of a run with the files of others of the same dataset; of another, these."""
    before, given = _data_table(tables), _data_table({"data": data})
    name, args = dataset_of_file(given.get("type", ""), TRAIN)
    if not before or name != before["type"]:
        return data
    return {**before, "args": {**before.get("args", {}), **args, **given.get("args", {})}}


def _read_own_file(tables: dict[str, Any]) -> None:
    """Put the dataset that reads a file, and the file as its argument, in place of the file."""
    table = _data_table(tables)
    data = table.get("type", "")
    name, given = dataset_of_file(data, TRAIN)
    if name != data:
        settings = data_settings(Path(data)) if Path(data).suffix.lower() == SETTINGS else {}
        merged = {**settings, **table, "type": name, "args": {**given, **table.get("args", {})}}
        tables["data"] = merged


def _validating_on_what_is_given(config: RunConfig) -> RunConfig:
    """The config; where a file of validation is given, or its rows in a file of several
    splits, but no split to validate on, it is that."""
    data = config.data
    given = data.args.get(GIVEN_VALIDATION) or _names_validation(config)
    if data.validation_split or not given:
        return config
    return replace(config, data=replace(data, validation_split=GIVEN_VALIDATION))


def _names_validation(config: RunConfig) -> bool:
    """Whether the user's own file has rows that say that they are for validation."""
    data = config.data
    manifest = registry.manifest("dataset", data.type)
    if not manifest.suffixes or not data.args.get(SPLIT_COLUMN):
        return False
    try:
        return GIVEN_VALIDATION in open_dataset(data.type, data.args).splits()
    except VqazooError:  # which is told when the data are read
        return False
