"""What may follow the transformer of a sentence-transformers folder, step by step. Imports torch.

Source: Reimers & Gurevych 2019, Sentence-BERT, section 3, and the modules of the library
sentence-transformers, whose tensor names the steps keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError, WeightsError
from vqazoo.files.encoder_files import read_json
from vqazoo.files.reading import shown

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
TOKENS, SENTENCE = "token_embeddings", "sentence_embedding"
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
OLD_MODES = {  # in the order in which the library joins them
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = ("torch.nn.modules.activation.", "torch.nn.modules.linear.Identity", "torch.nn.")


@dataclass
class Text:
    """What the steps read and write: states (B, L, D), mask (B, L), and the tokens of a prompt."""

    named: dict[str, Tensor]
    mask: Tensor
    prompt_length: int = 0


class Pooling(nn.Module):
    """One vector a text out of its states, or several joined."""

    def __init__(self, modes: Sequence[str], include_prompt: bool = True) -> None:
        super().__init__()
        self.modes, self.include_prompt = tuple(modes), include_prompt

    def forward(self, text: Text) -> None:
        kept = text.mask
        if not self.include_prompt and text.prompt_length:
            kept = kept.clone()
            kept[:, : text.prompt_length] = False
        states = text.named[TOKENS]
        text.named[SENTENCE] = torch.cat([pool(states, kept, mode) for mode in self.modes], dim=-1)


class Dense(nn.Module):
    """A linear layer with an activation, and the residual connection that the library may add."""

    def __init__(
        self,
        sizes: tuple[int, int],
        bias: bool,
        activation: nn.Module,
        residual: bool,
        names: tuple[str, str],
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(*sizes, bias=bias)
        self.activation, self.adds, (self.read, self.written) = activation, residual, names
        if residual and sizes[0] != sizes[1]:
            self.residual = nn.Linear(*sizes, bias=False)

    def forward(self, text: Text) -> None:
        x = text.named[self.read]
        out = self.activation(self.linear(x))
        if self.adds:
            out = out + (self.residual(x) if hasattr(self, "residual") else x)
        text.named[self.written] = out


class Norm(nn.Module):
    """LayerNorm of the vector of a text."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, text: Text) -> None:
        text.named[SENTENCE] = self.norm(text.named[SENTENCE])


class Normalize(nn.Module):
    """Scales to L2 norm 1."""

    def __init__(self, names: tuple[str, str]) -> None:
        super().__init__()
        self.read, self.written = names

    def forward(self, text: Text) -> None:
        text.named[self.written] = F.normalize(text.named[self.read], dim=-1)


def pool(states: Tensor, kept: Tensor, mode: str) -> Tensor:
    """One vector (B, D) a row of states (B, L, D), padded on the right.

    Args:
        kept: (B, L) bool, the tokens that count.
        mode: one of `MODES`; `weightedmean` weighs a token by its place, counted from 1.
    """
    rows = torch.arange(len(states), device=states.device)  # (B,)
    if mode == "cls":
        return states[rows, kept.int().argmax(dim=1)]
    if mode == "lasttoken":
        last = kept.shape[1] - 1 - kept.flip(1).int().argmax(dim=1)  # (B,)
        return states[rows, last]
    if mode == "max":
        return states.masked_fill(~kept[:, :, None], -torch.inf).amax(dim=1)
    exact = torch.float32 if states.dtype in (torch.float16, torch.bfloat16) else states.dtype
    weights = kept[:, :, None].to(exact)  # (B, L, 1)
    if mode == "weightedmean":
        places = torch.arange(1, kept.shape[1] + 1, device=states.device, dtype=exact)
        weights = weights * places[:, None]
    total = weights.sum(dim=1)  # (B, 1)
    total = total.clamp(min=1e-9).sqrt() if mode == "mean_sqrt_len_tokens" else total
    return ((states * weights).sum(dim=1) / total.clamp(min=1e-9)).to(states.dtype)


# ---- reading --------------------------------------------------------------------------------


@dataclass
class SentenceFolder:
    """A folder that is being read; every file that says something is kept for the digest."""

    path: Path
    said: dict[str, Any] = field(default_factory=dict)

    def table(self, name: str, required: bool = False) -> dict[str, Any]:
        """The object in a JSON file; nothing if the file may be missing and is."""
        content = self.json(name) if required or (self.path / name).is_file() else {}
        if not isinstance(content, dict):
            raise WeightsError(
                f"'{self.path / name}' is {shown(content)}, but a table was expected."
            )
        return dict(content)

    def json(self, name: str) -> Any:
        self.said[name] = content = read_json(self.path / name, self.path)
        return content

    def only(self, name: str, said: Mapping[str, Any], known: Sequence[str]) -> None:
        """Refuse settings that are not known here."""
        for key in said:
            if key not in known:
                raise IncompatibleError(
                    f"'{self.path / name}' sets '{key}' to {shown(said[key])}, which is not "
                    f"understood here: set text_encoder.args.pooling to leave out what follows "
                    f"the transformer."
                )

    def wrong(self, name: str, key: str, value: Any, expected: str) -> IncompatibleError:
        return IncompatibleError(
            f"'{self.path / name}' sets '{key}' to {shown(value)}, but {expected} was expected: "
            f"set text_encoder.args.pooling to leave out what follows the transformer."
        )


def read_step(
    folder: SentenceFolder, kind: str, place: str, dims: dict[str, int]
) -> nn.Module | None:
    """The module of a place, which changes `dims`; None for one that only training needs."""
    name = f"{place}/config.json"
    if kind == "Dropout":
        return None
    if kind == "Normalize":
        said = folder.table(name)
        read, written = _names(folder, name, said, dims)
        dims[written] = dims[read]
        return Normalize((read, written))
    said = folder.table(name, required=True)
    if kind == "Pooling":
        modes = read_modes(folder, name, said)
        dim = said.get("embedding_dimension", said.get("word_embedding_dimension", dims[TOKENS]))
        if dim != dims[TOKENS]:
            raise folder.wrong(name, "embedding_dimension", dim, f"{dims[TOKENS]}")
        dims[SENTENCE] = len(modes) * dims[TOKENS]
        return Pooling(modes, said.get("include_prompt", True))
    if kind == "Dense":
        return _dense(folder, name, said, dims)
    if kind == "LayerNorm":
        folder.only(name, said, ("dimension",))
        if said.get("dimension") != dims.get(SENTENCE):
            raise folder.wrong(name, "dimension", said.get("dimension"), f"{dims.get(SENTENCE)}")
        return Norm(dims[SENTENCE])
    raise unbuilt(folder.path, kind)


def read_modes(folder: SentenceFolder, name: str, said: Mapping[str, Any]) -> tuple[str, ...]:
    dims = ("embedding_dimension", "word_embedding_dimension")
    folder.only(name, said, (*dims, "pooling_mode", "include_prompt", *OLD_MODES))
    flags = {key: said[key] for key in ("include_prompt", *OLD_MODES) if key in said}
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise folder.wrong(name, key, value, "true or false")
    modes = said.get("pooling_mode")
    if modes is None:  # the old form, in which the library takes the mean where nothing is true
        enabled = tuple(mode for key, mode in OLD_MODES.items() if said.get(key))
        return enabled or ("mean",)
    listed = [modes] if isinstance(modes, str) else modes
    if not isinstance(listed, list) or not listed or any(mode not in MODES for mode in listed):
        raise folder.wrong(name, "pooling_mode", modes, f"one or more of {', '.join(MODES)}")
    return tuple(listed)


def _names(
    folder: SentenceFolder, name: str, said: Mapping[str, Any], dims: Mapping[str, int]
) -> tuple[str, str]:
    """What a module reads and what it writes."""
    folder.only(name, said, ("module_input_name", "module_output_name"))
    read = said.get("module_input_name", SENTENCE)
    written = said.get("module_output_name") or read
    for key, value in {"module_input_name": read, "module_output_name": written}.items():
        if value not in (TOKENS, SENTENCE) or (value == read and value not in dims):
            raise folder.wrong(name, key, value, f"what a module before gives ({', '.join(dims)})")
    return read, written


def _dense(folder: SentenceFolder, name: str, said: dict[str, Any], dims: dict[str, int]) -> Dense:
    own = ("in_features", "out_features", "bias", "activation_function", "use_residual")
    read, written = _names(folder, name, {k: v for k, v in said.items() if k not in own}, dims)
    sizes = said.get("in_features"), said.get("out_features")
    if sizes[0] != dims[read]:
        raise folder.wrong(name, "in_features", sizes[0], f"{dims[read]}")
    if type(sizes[1]) is not int or sizes[1] < 1:
        raise folder.wrong(name, "out_features", sizes[1], "a number of features")
    said_activation = said.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = _activation(said_activation)
    if activation is None:
        raise folder.wrong(name, "activation_function", said_activation, "a class of torch.nn")
    dims[written] = sizes[1]
    flags = bool(said.get("bias", True)), bool(said.get("use_residual", False))
    return Dense((sizes[0], sizes[1]), flags[0], activation, flags[1], (read, written))


def _activation(said: Any) -> nn.Module | None:
    """An activation of torch by its full name; None if it is none that takes no arguments."""
    if not isinstance(said, str) or not said.startswith(ACTIVATIONS):
        return None
    activation_class = getattr(nn, said.rpartition(".")[2], None)
    if not (isinstance(activation_class, type) and issubclass(activation_class, nn.Module)):
        return None
    if not f"{activation_class.__module__}.{activation_class.__name__}".startswith(ACTIVATIONS[:2]):
        return None
    try:
        activation: nn.Module = activation_class()
    except TypeError:  # it needs arguments, which the library has none of either
        return None
    return activation


def unbuilt(path: Path, kind: str) -> IncompatibleError:
    return IncompatibleError(
        f"'{path / MODULES}' has the module {shown(kind)}, which is not built here (built are "
        f"Transformer, Pooling, Dense, LayerNorm, Normalize and Dropout): set "
        f"text_encoder.args.pooling, for instance to mean, to read the transformer alone."
    )
