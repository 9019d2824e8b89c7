"""Typed configuration: people write TOML, programs write JSON, both with the same keys.

Precedence, lowest first: component defaults, config file, `--set key=value`, explicit flags.
Unknown keys are errors. Imports only the standard library and tomli_w.
"""

from vqazoo.config.filling import fill_block, run_config, shareable
from vqazoo.config.parsing import CHOICES, POSITIVE, parse
from vqazoo.config.tables import (
    Block,
    DataConfig,
    LoraConfig,
    ModelConfig,
    OriginConfig,
    PublishedScore,
    RunConfig,
    StageConfig,
    TrainingConfig,
)
from vqazoo.config.writing import config_digest, plain, read_toml, set_value, to_toml

__all__ = [
    "CHOICES",
    "POSITIVE",
    "Block",
    "DataConfig",
    "LoraConfig",
    "ModelConfig",
    "OriginConfig",
    "PublishedScore",
    "RunConfig",
    "StageConfig",
    "TrainingConfig",
    "config_digest",
    "fill_block",
    "parse",
    "plain",
    "read_toml",
    "run_config",
    "set_value",
    "shareable",
    "to_toml",
]
