"""Typed configuration: people write TOML, programs write JSON, both with the same keys.

Precedence, lowest first: component defaults, config file, `--set key=value`, explicit flags.
Unknown keys are errors. Imports only the standard library and tomli_w.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import tomli_w

from vqazoo.data.answers import RULE_NAMES
from vqazoo.errors import ConfigError, did_you_mean
from vqazoo.files.places import is_local
from vqazoo.manifests import EncoderManifest
from vqazoo.registry import registry

C = TypeVar("C")


@dataclass(frozen=True)
class Block:
    """One part: its registry name, its arguments, and the version of its behaviour (0: current)."""

    type: str
    args: dict[str, Any] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True)
class ModelConfig:
    """The four parts of a model. Equal encoder blocks mean one encoder with both towers.

    `decode` holds decode options in place of the head's defaults, as a published checkpoint's
    generation_config.json says; see `VQAModel.decode_options`.
    """

    image_encoder: Block
    text_encoder: Block
    fusion: Block
    head: Block
    decode: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from, and which answers the model knows."""

    type: str
    args: dict[str, Any] = field(default_factory=dict)
    train_split: str = "train"
    test_split: str = "test"  # what `eval` and `recipe run` score
    validation_split: str = ""  # empty: take validation_fraction of the training images
    validation_fraction: float = 0.05
    answers: str = ""  # file with one answer a line; empty: the training answers
    most_answers: int = 0  # keep this many of the most frequent answers; 0: all
    answer_rule: str = "most-frequent"  # which answers of a question are learnt: answers.RULE_NAMES
    skip_missing: bool = False  # leave out questions whose picture is missing or damaged


@dataclass(frozen=True)
class StageConfig:
    """A stretch of epochs of its own; it starts from the best model of the stage before."""

    epochs: int
    learning_rate: float = 0.0  # of fusion and head; 0: training.learning_rate
    encoder_learning_rate: float = 0.0  # 0: training.encoder_learning_rate, else learning_rate
    batch_size: int = 0  # 0: training.batch_size
    patience: int = 0  # 0: training.patience
    trainable: list[str] = field(default_factory=list)  # as training.trainable
    unfreeze_blocks: int = 0  # as training.unfreeze_blocks


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters in a frozen encoder (Hu et al. 2022); merged into it when saved."""

    rank: int = 0  # 0: none
    alpha: float = 16.0  # the update is scaled by alpha / rank
    dropout: float = 0.0
    targets: list[str] = field(default_factory=list)  # name endings; empty: every linear layer


@dataclass(frozen=True)
class TrainingConfig:
    """How the model learns. AdamW (Loshchilov & Hutter 2019) throughout."""

    epochs: int = 10
    batch_size: int = 256  # over all processes
    accumulate: int = 1  # steps whose gradients are averaged before the optimiser moves
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 0.0  # of encoder parameters that train; 0: learning_rate
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    epsilon: float = 1e-8
    schedule: str = "cosine"  # cosine to zero, constant, multi-step or plateau
    warmup_epochs: float = 0.0  # linear, counted in steps
    milestones: list[int] = field(default_factory=list)  # multi-step: epochs
    factor: float = 0.1  # multi-step, plateau: the rate is multiplied by this
    plateau_patience: int = 2  # plateau: epochs without a better monitored value
    clip_norm: float = 1.0  # 0: no clipping by norm
    clip_value: float = 0.0  # 0: no clipping by value
    precision: str = "float32"  # float32, bf16 or fp16 (autocast, with a gradient scaler)
    average: float = 0.0  # decay of the moving average of weights that is kept; 0: none
    monitor: str = (
        "accuracy"  # validation value that chooses the best: accuracy, vqa-accuracy, loss
    )
    eval_steps: int = 0  # steps between validations within an epoch; 0: only at its end
    start: str = ""  # a model whose tensors are taken where they fit, as `vqazoo.load` names it
    patience: int = 0  # epochs without a better monitored value before a stage ends; 0: never
    trainable: list[str] = field(default_factory=list)  # encoder parameters: name prefixes, or "*"
    unfreeze_blocks: int = 0  # of each tower, the last blocks and what follows them
    stages: list[StageConfig] = field(default_factory=list)  # empty: one stage of `epochs`
    lora: LoraConfig = field(default_factory=LoraConfig)
    augment: str = "none"  # none, crop or rotate; training images only
    group_by_image: bool = False  # questions about one image share a batch
    features: str = "auto"  # auto: cached when the encoder is frozen and images are fixed; or live
    cache: str = ""  # folder of cached features; empty: features in the vqazoo cache folder
    loggers: list[str] = field(default_factory=list)  # tensorboard, trackio, wandb
    device: str = "auto"  # auto: cuda if there is one, else cpu


@dataclass(frozen=True)
class PublishedScore:
    """A score that a recipe's source reports, which the card sets beside ours."""

    metric: str  # our name of it, such as sentence-bleu-1
    value: float  # in percent, as the source states it
    split: str  # the questions that the source scored
    protocol: str = ""  # how the source scored, and what differs from our metric
    source: str = ""  # where it says so; empty: the recipe's source


@dataclass(frozen=True)
class OriginConfig:
    """What a recipe follows, for its readers and for the model card; it changes no result."""

    source: str = ""  # paper and section, or repository
    published: dict[str, str] = field(default_factory=dict)  # config key: what the source states
    ours: dict[str, str] = field(default_factory=dict)  # config key: why, where it states none
    deviations: list[str] = field(default_factory=list)  # what differs from the source, and why
    scores: list[PublishedScore] = field(default_factory=list)  # what the source reports


@dataclass(frozen=True)
class RunConfig:
    """Everything a training run needs; feeding a saved one back repeats the run."""

    image_encoder: Block
    text_encoder: Block
    fusion: Block
    head: Block
    data: DataConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0
    name: str = ""  # of the model in the zoo: <encoder>-<head>-<dataset>[-<qualifier>]
    license: str = ""  # of the trained weights, as the Hub spells it; empty: not stated
    origin: OriginConfig = field(default_factory=OriginConfig)

    @property
    def model(self) -> ModelConfig:
        return ModelConfig(self.image_encoder, self.text_encoder, self.fusion, self.head)


CHOICES = {
    "data.answer_rule": RULE_NAMES,
    "training.schedule": ("cosine", "constant", "multi-step", "plateau"),
    "training.precision": ("float32", "bf16", "fp16"),
    "training.monitor": ("accuracy", "vqa-accuracy", "loss"),
    "training.augment": ("none", "crop", "rotate"),
    "training.features": ("auto", "live"),
    "training.loggers": ("tensorboard", "trackio", "wandb"),
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


def run_config(given: Mapping[str, Any]) -> RunConfig:
    """A filled, checked RunConfig out of plain tables.

    The table `encoder` stands for both towers; `image_encoder` and `text_encoder` replace one.
    A missing `fusion` is the head's default. Reads manifests, but builds nothing.

    Raises:
        ConfigError, UnknownNameError, PluginError: a key, name or argument is not understood.
    """
    tables = dict(given)
    both = tables.pop("encoder", None)
    for tower in ("image_encoder", "text_encoder"):
        if both is not None:
            tables.setdefault(tower, both)
        if tower not in tables:
            flag = tower.replace("_", "-")
            raise ConfigError(
                f"No {tower} is named: give --encoder for both towers, or --{flag} for this one."
            )
    for needed, flag in (("head", "--head"), ("data", "--data")):
        if needed not in tables:
            raise ConfigError(f"No {needed} is named: give {flag}, or [{needed}] in the config.")
    if "fusion" not in tables:
        head = parse(Block, _as_table(tables["head"]), "head")
        manifest = registry.manifest("head", head.type)
        tables["fusion"] = {
            "type": manifest.default_fusion,
            "args": dict(manifest.default_fusion_args),
        }
    config = parse(RunConfig, tables)
    name = registry.canonical("dataset", config.data.type)
    data = replace(config.data, type=name, args=registry.fill("dataset", name, config.data.args))
    filled: dict[str, Any] = {
        "image_encoder": fill_block("encoder", config.image_encoder),
        "text_encoder": fill_block("encoder", config.text_encoder),
        "fusion": fill_block("fusion", config.fusion),
        "head": fill_block("head", config.head),
    }
    return replace(config, **filled, data=data)


def _as_table(block: Any) -> Any:
    return {"type": block} if isinstance(block, str) else block


def fill_block(kind: str, block: Block) -> Block:
    """The block with its name as the registry spells it, every argument and the version.

    Raises:
        ConfigError: an argument does not fit, a variant is missing or not taken, or the block was
            written for another version of the part.
    """
    manifest = registry.manifest(kind, block.type)
    if block.version not in (0, manifest.version):
        raise ConfigError(
            f"The config asks for version {block.version} of the {kind} '{block.type}', but "
            f"version {manifest.version} is installed: install the vqazoo or plugin release that "
            f"wrote the config, or train again."
        )
    if isinstance(manifest, EncoderManifest):
        variant = block.type.partition(":")[2]
        if manifest.variant and not variant:
            raise ConfigError(
                f"The encoder '{block.type}' needs a variant after a colon ({manifest.variant}), "
                f"for instance '{manifest.example}'."
            )
        if variant and not manifest.variant:
            raise ConfigError(
                f"The encoder '{block.type.partition(':')[0]}' takes no variant, but "
                f"':{variant}' was given: leave it out."
            )
    args = dict(block.args)
    if block.version:  # a release filled it, so what it lacks did not exist then
        before = {name: arg.before for name, arg in manifest.args.items()}
        args = {name: value for name, value in before.items() if value is not None} | args
    name = registry.canonical(kind, block.type)
    return Block(name, registry.fill(kind, name, args), manifest.version)


def plain(config: Any) -> Any:
    """Plain tables and values of a config, for JSON and TOML."""
    if is_dataclass(config):
        return {f.name: plain(getattr(config, f.name)) for f in fields(config)}
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, list):
        return [plain(value) for value in config]
    return config


def to_toml(config: RunConfig) -> str:
    """The config as TOML that `read_toml` reads back."""
    tables = plain(config)
    return tomli_w.dumps({name: tables.pop(name) for name in ("name", "license", "seed")} | tables)


def shareable(config: RunConfig) -> RunConfig:
    """The config without the folders of this machine: what is published with a model."""
    args = {
        key: value
        for key, value in config.data.args.items()
        if not (isinstance(value, str) and is_local(value))
    }
    data = replace(config.data, args=registry.fill("dataset", config.data.type, args))
    start = config.training.start
    training = replace(config.training, cache="", start="" if start.startswith("dir:") else start)
    return replace(config, data=data, training=training)


def read_toml(path: Path) -> dict[str, Any]:
    """Plain tables of a TOML file. Raises ConfigError with file and position if it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"The config file '{path}' does not exist: check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file '{path}' cannot be read ({error}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The config file '{path}' is not valid TOML: {error}.") from error


def set_value(tables: dict[str, Any], assignment: str, option: str = "--set") -> None:
    """Apply one `a.b=value` in place; the value is TOML, and anything else is taken as text.

    Raises:
        ConfigError: there is no `=`, or the key runs through something that is not a table.
    """
    key, equals, text = assignment.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(
            f"{option} takes key=value, for instance "
            f"{'training.epochs=5' if option == '--set' else 'strategy=beam'}, but got "
            f"{assignment!r}."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for name in names[:-1]:
        inner = tables.setdefault(name, {})
        if isinstance(inner, str):  # `head = "lstm"` is short for `head.type`
            inner = tables[name] = {"type": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"{option} {assignment!r}: '{name}' is {inner!r}, not a table.")
        tables = inner
    tables[names[-1]] = value


def config_digest(config: Any) -> str:
    """SHA-256 of a config's canonical JSON."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()
