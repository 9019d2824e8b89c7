"""What is pretrained: a model of the zoo, its objectives, and how both are saved. Imports torch."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vqazoo.building import assemble
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint, saved_tensors
from vqazoo.config import Block, ModelConfig, fill_block, parse, set_value
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError, ConfigError, did_you_mean
from vqazoo.files.json_text import json_text
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.writing import write_file
from vqazoo.interfaces import Features, width
from vqazoo.manifests import TOKENS
from vqazoo.model import VQAModel
from vqazoo.modes import evaluating
from vqazoo.registry import load_object, registry
from vqazoo_pretraining.loop import MomentumObjectives, Objectives

CHECKPOINT, CAPTIONER, OBJECTIVES = "checkpoint", "captioner", "objectives.safetensors"
BLIP, Q_FORMER = "blip", "q-former"
PARTS = {BLIP: ("med", "med-decoder"), Q_FORMER: ("q-former", "med-decoder")}  # fusion, head
CAPTIONER_FUSION = "image-tokens"
CONTEXT = 64  # tokens of a text that encoder and decoder have positions for
NAMES = {BLIP: ("itc", "itm", "lm"), Q_FORMER: ("itc", "itm", "itg")}  # of the objectives
BLIP_OBJECTIVES = "vqazoo_blip.objectives:BLIPObjectives"
Q_FORMER_OBJECTIVES = "vqazoo_blip2.objectives:QFormerObjectives"


@dataclass(frozen=True)
class Shape:
    """Sizes of a new model; further arguments of its parts come as assignments."""

    dim: int
    layers: int
    heads: int


def model_config(
    architecture: str,
    image_encoder: str,
    text_encoder: str,
    shape: Shape,
    assignments: Sequence[str],
) -> tuple[ModelConfig, dict[str, Any]]:
    """The filled parts, and the arguments of the objectives.

    Args:
        assignments: such as `fusion.args.queries=8` or `objectives.args.queue=1024`.

    Raises:
        ConfigError, UnknownNameError: a part or an argument is not understood.
    """
    fusion, head = PARTS[architecture]
    sizes = {
        "dim": shape.dim,
        "layers": shape.layers,
        "heads": shape.heads,
        "hidden_dim": 4 * shape.dim,
    }
    text_encoder = registry.canonical("encoder", text_encoder)
    words = text_encoder.partition(":")[0] == "words"
    tables: dict[str, Any] = {
        "image_encoder": {"type": image_encoder},
        "text_encoder": {
            "type": text_encoder,
            "args": {"dim": shape.dim, "context_length": CONTEXT} if words else {},
        },
        "fusion": {"type": fusion, "args": dict(sizes)},
        "head": {"type": head, "args": {**sizes, "context_length": CONTEXT}},
        "objectives": {"args": {}},
    }
    for assignment in assignments:
        set_value(tables, assignment)
    unknown = [name for name in tables if name not in (*ModelConfig.__annotations__, "objectives")]
    if unknown:
        raise ConfigError(
            f"--set names '{unknown[0]}', but only image_encoder, text_encoder, fusion, head and "
            f"objectives can be set.{did_you_mean(unknown[0], ['objectives', *PARTS[BLIP]])}"
        )
    for name, kept in (("fusion", fusion), ("head", head)):
        if tables[name].get("type") != kept:
            raise ConfigError(
                f"The {name} is '{tables[name].get('type')}', but {architecture} pretrains "
                f"'{kept}': leave out  --set {name}.type ."
            )
    blocks: dict[str, Any] = {
        name: fill_block("encoder" if name.endswith("encoder") else name, parse(Block, table, name))
        for name, table in tables.items()
        if name != "objectives"
    }
    return ModelConfig(**cast(Any, blocks)), dict(tables["objectives"].get("args", {}))


def objective_names(architecture: str, text: str) -> list[str]:
    """The objectives of a comma-separated list; `lm` and `itg` are one, under the system's name.

    Raises:
        ConfigError: a name is not known, or none is given.
    """
    known = NAMES[architecture]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"No objective is named: choose out of {','.join(known)}.")
    names = [known[2] if name in ("lm", "itg") else name for name in names]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"Unknown objective '{name}'.{did_you_mean(name, known)} The objectives of "
                f"{architecture} are {', '.join(known)}."
            )
    return list(dict.fromkeys(names))


class Pretraining(nn.Module, ABC):
    """A model, what it learns from captions, and how they are saved.

    Attributes:
        model: what `checkpoint/` holds.
        objectives: its losses.
        architecture: `blip` or `q-former`.
    """

    architecture: str
    model: VQAModel
    objectives: Objectives

    def __init__(self, model: VQAModel, args: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.args = dict(args)
        if "text" in model.towers:
            model.set_trainable(("text",))

    @abstractmethod
    def write(self, image: Features, **decode: Any) -> list[str]:
        """A caption for each of B pictures. Raises ConfigError: nothing here writes captions."""

    @property
    def writes(self) -> bool:
        """Whether `write` works."""
        return True

    def learning(self) -> list[nn.Parameter]:
        """The parameters that train, each once."""
        return [p for p in self.parameters() if p.requires_grad]

    @property
    def itself(self) -> nn.Module:
        return self

    def kept(self) -> dict[str, Tensor]:
        """Parameters and buffers that may change, by name, each once."""
        fixed = self.model.state_dict().keys() - saved_tensors(self.model).keys()
        stored = self.state_dict(keep_vars=True)
        every = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return {
            name: tensor
            for name, tensor in every.items()
            if name in stored and name.removeprefix("model.") not in fixed
        }

    def learnt(self) -> dict[str, Tensor]:
        """What belongs to the objectives alone."""
        return cast(nn.Module, self.objectives).state_dict()

    def save(self, out: Path) -> list[str]:
        """Write `checkpoint/` and `objectives.safetensors`; each is replaced in one step.

        Returns:
            Names of head tensors that pretraining could not provide.

        Raises:
            CheckpointError: the disk is full.
        """
        save_checkpoint(self.model, out / CHECKPOINT)
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.learnt().items()}
        metadata = {
            "format": "pt",
            "architecture": self.architecture,
            "args": json_text(self.args, ascii_only=True),
        }
        try:
            write_file(out / OBJECTIVES, safetensors_bytes(tensors, metadata=metadata))
        except OSError as error:
            raise CheckpointError(
                f"'{out / OBJECTIVES}' could not be written ({error}): free space."
            ) from error
        return []


class BLIPPretraining(Pretraining):
    """Fusion `med` and two decoders.

    One reads the picture and learns, tied to the fusion; the head of `checkpoint/`, which reads
    the question's states, gets a copy of what fits it.

    `captioner/` is a model of `image-tokens` and the decoder: the captioner of BLIP.
    """

    architecture = BLIP
    objectives: MomentumObjectives

    def __init__(
        self,
        model: VQAModel,
        captioner: VQAModel | None,
        args: Mapping[str, Any],
        batch_size: int,
        ramp_steps: int,
    ) -> None:
        super().__init__(model, args)
        model.head.requires_grad_(False)  # it gets its weights when they are saved
        self.captioner_config = ModelConfig(
            model.config.image_encoder,
            model.config.text_encoder,
            fill_block("fusion", Block(CAPTIONER_FUSION)),
            model.config.head,
        )
        untied = captioner or self._untied()
        self.decoder = untied.head
        tokens = width(_image_spec(model), TOKENS)
        self.objectives = load_object(BLIP_OBJECTIVES)(
            model.fusion, self.decoder, model.text_encoder, tokens, args, batch_size, ramp_steps
        )

    def _untied(self) -> VQAModel:
        """A captioner of the same towers, with a random head."""
        with evaluating(self.model):  # as a new model is, whose towers are the same
            made = assemble(self.captioner_config, self.model.towers, AnswerList((), ()))
            made.set_trainable(self.model.trainable)  # a new model freezes its towers
        return made.to(self.model.device)

    def write(self, image: Features, **decode: Any) -> list[str]:
        with evaluating(self), torch.inference_mode():
            return [ranked[0].text for ranked in self.decoder.predict(image, 1, **decode)]

    def learnt(self) -> dict[str, Tensor]:
        return self.objectives.learnt()

    def save(self, out: Path) -> list[str]:
        learnt, head = self.decoder.state_dict(), self.model.head.state_dict()
        missing = []
        with torch.no_grad():
            for name, own in head.items():
                if name in learnt and learnt[name].shape == own.shape:
                    own.copy_(learnt[name])
                else:
                    missing.append(name)
        captioner = self._untied()
        captioner.head.load_state_dict(learnt)
        super().save(out)
        save_checkpoint(captioner, out / CAPTIONER)
        return missing


class QFormerPretraining(Pretraining):
    """Stage 1 of the fusion `q-former`; the head of `checkpoint/` stays untrained."""

    architecture = Q_FORMER

    def __init__(self, model: VQAModel, args: Mapping[str, Any]) -> None:
        super().__init__(model, args)
        model.head.requires_grad_(False)
        text = model.text_encoder
        self.objectives = load_object(Q_FORMER_OBJECTIVES)(
            model.fusion, text.lend("text_embedding"), text, args
        )

    @property
    def writes(self) -> bool:
        return False

    def write(self, image: Features, **decode: Any) -> list[str]:
        raise ConfigError("The Q-Former of stage 1 writes no captions: train stage 2 first.")


def load_pretraining(folder: Path, batch_size: int, ramp_steps: int) -> BLIPPretraining:
    """What `vqazoo pretrain --architecture blip` has written, ready to learn on.

    Raises:
        CheckpointError: the folder is incomplete, or holds another architecture.
    """
    try:
        with safe_open(folder / OBJECTIVES, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        args = json.loads(metadata.get("args", ""))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"'{folder}' is not what  vqazoo pretrain  writes ({error}): name the folder that was "
            f"given to it as --out."
        ) from error
    if metadata.get("architecture") != BLIP:
        raise CheckpointError(
            f"'{folder}' was pretrained as {metadata.get('architecture')}, but a captioner and "
            f"filter are made of blip: name a folder of  vqazoo pretrain --architecture blip."
        )
    model = load_checkpoint(folder / CHECKPOINT)
    captioner = load_checkpoint(folder / CAPTIONER)
    pretraining = BLIPPretraining(model, captioner, args, batch_size, ramp_steps)
    objectives = pretraining.objectives
    shapes = {name: tensor.shape for name, tensor in objectives.learnt().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise CheckpointError(
            f"'{folder / OBJECTIVES}' does not hold the tensors of this release: pretrain again."
        )
    cast(nn.Module, objectives).load_state_dict(tensors, strict=False)
    objectives.restart()
    return pretraining


def _image_spec(model: VQAModel) -> Any:
    spec = model.image_encoder.spec.image
    assert spec is not None
    return spec
