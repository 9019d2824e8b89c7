"""Plain tables into config dataclasses: keys, types and choices are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from vqazoo.config.tables import Block, DataConfig
from vqazoo.data.answers import RULE_NAMES
from vqazoo.errors import ConfigError, did_you_mean

C = TypeVar("C")
CHOICES = {
    "data.answer_rule": RULE_NAMES,
    "training.schedule": ("cosine", "constant", "multi-step", "plateau"),
    "training.precision": ("float32", "bf16", "fp16"),
    "training.monitor": ("accuracy", "vqa-accuracy", "loss"),
    "training.augment": ("none", "crop", "rotate"),
    "training.features": ("auto", "live"),
    "training.loggers": ("tensorboard", "trackio", "wandb", "codecarbon"),
}
POSITIVE = (
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "training.accumulate",
    "training.stages.epochs",
)


def parse(cls: type[C], given: Any, where: str = "") -> C:
    """Make a config dataclass out of plain tables.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"The config key '{where}' is {given!r}, but a table was expected: "
            f"write  [{where}]  with the keys {', '.join(f.name for f in fields(cast(Any, cls)))}."
        )
    declared = {f.name: f for f in fields(cast(Any, cls))}
    for key in given:
        if key not in declared:
            place = f"the table [{where}]" if where else "the config"
            raise ConfigError(
                f"Unknown key '{key}' in {place}.{did_you_mean(key, declared)} "
                f"The keys are {', '.join(declared)}."
            )
    hints = get_type_hints(cls)
    values = {}
    for name, declared_field in declared.items():
        key = f"{where}.{name}" if where else name
        if name in given:
            values[name] = _parse_value(hints[name], given[name], key)
        elif declared_field.default is MISSING and declared_field.default_factory is MISSING:
            raise ConfigError(f"The config has no '{key}': add it.")
    return cls(**values)


def _parse_value(hint: Any, value: Any, key: str) -> Any:
    if is_dataclass(hint):
        if isinstance(value, str) and hint in (Block, DataConfig):  # the name alone
            value = {"type": value}
        return parse(cast(Any, hint), value, key)
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise ConfigError(f"The config key '{key}' is {value!r}, but a list was expected.")
        return [_parse_value(get_args(hint)[0], item, key) for item in value]
    if get_origin(hint) is dict:
        hint = dict
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"The config key '{key}' is {value!r}, but {hint.__name__} was expected.")
    if key in CHOICES and value not in CHOICES[key]:
        raise ConfigError(
            f"The config key '{key}' is {value!r}, but it must be one of {', '.join(CHOICES[key])}."
            f"{did_you_mean(str(value), CHOICES[key])}"
        )
    if key in POSITIVE and value <= 0:
        raise ConfigError(f"The config key '{key}' is {value!r}, but it must be above zero.")
    return value
