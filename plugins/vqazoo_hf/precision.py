"""The precision in which transformers builds a model of a config. Imports torch."""

from __future__ import annotations

from typing import Any

import torch


def in_single(config: Any) -> Any:
    """The config, of which transformers now builds float32, as the weights are loaded.

    Else it would build what its file was saved in, such as bfloat16, which no fusion takes.
    """
    config.dtype = torch.float32
    for name in config.sub_configs:
        if (part := getattr(config, name, None)) is not None:
            in_single(part)
    return config
