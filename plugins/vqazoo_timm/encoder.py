"""Any timm image model as an image tower. Imports torch; timm when one is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from vqazoo.errors import (
    ConfigError,
    IncompatibleError,
    UnknownNameError,
    WeightsError,
    did_you_mean,
)
from vqazoo.files.encoder_files import check_weights_file
from vqazoo.files.known_digests import joined_sha256
from vqazoo.hub.files import fetch_file
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    ImageTowerSpec,
    Preprocess,
    WeightsReference,
)
from vqazoo.manifests import POOLED, TOKENS
from vqazoo.toolkit.assigning import assign
from vqazoo.toolkit.weights import map_weights
from vqazoo_timm.layout import as_tokens, find_layout, last_states

MODES = {"center": "crop", "squash": "squash", "border": "pad"}  # timm's crop_mode: the core's
WEIGHTS = "model.safetensors"
NAFLEX = "naflexvit_"
PLAIN, QUICK = "_clip_", "_clip_quickgelu_"  # names of the same weights with another activation


class TimmEncoder(Encoder):
    """The image tower of a timm model without its classifier.

    `vit_small_patch16_224` has random weights, `vit_small_patch16_224.augreg_in1k` those of a timm
    tag (from the Hub, safetensors only), `vit_small_patch16_224@FILE.safetensors` those of a file.

    Pooled features are the input of timm's classifier (`forward_head(pre_logits=True)`), not
    normalised. Tokens are `forward_features`: maps are flattened row by row, prefix tokens kept; of
    several branches or stages they are those of the last. A model without a pooled vector
    (`deepseek_vit_412m_enc`) offers tokens only.

    NaFlex models (`naflexvit_*`) keep each picture's aspect, in as many patches as the square of
    timm's config has, unless `aspect` is `square`: then they see the square.
    """

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, activation: str, aspect: str
    ) -> None:
        super().__init__()
        assert variant is not None
        refuse_texts(towers, "timm")
        name, _, file = variant.partition("@")
        self._name, self._file = _of_activation(name, file, activation), file
        self._build(self._name, keeps_aspect=aspect == "auto")

    def _build(self, name: str, keeps_aspect: bool = False, side: int = 0) -> None:
        """Build `self.model` with random weights and fill `self.spec`.

        Args:
            keeps_aspect: for NaFlex models alone.
            side: pixels of a picture to measure the widths with, for a model that takes any size;
                0: as many as it is made for.
        """
        import timm

        if not timm.is_model(name):
            known = timm.list_models()
            raise UnknownNameError(
                f"Unknown timm model {name!r}.{did_you_mean(name, known)} timm.list_models() "
                f"shows all {len(known)}."
            )
        try:
            self.model: Any = timm.create_model(name, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise UnknownNameError(
                f"timm cannot make '{name}' ({error}): timm.list_pretrained('{name}*') shows tags."
            ) from error
        config = timm.data.resolve_data_config({}, model=self.model)
        preprocess = _preprocess(config, name)
        if keeps_aspect and name.startswith(NAFLEX):
            preprocess = _in_patches(preprocess, self.model)
        size = (side, side) if side else preprocess.size
        self.spec = EncoderSpec(self._measure(preprocess, size))

    @torch.no_grad()
    def _measure(self, preprocess: Preprocess, size: tuple[int, int]) -> ImageTowerSpec:
        """Widths from one forward pass: models have no uniform attribute."""
        self.eval()
        pixels = torch.zeros(1, 3, *size)
        states = self.model.forward_features(pixels)
        self._layout = find_layout(self.model, pixels, states)
        try:
            pooled = self.model.forward_head(states, pre_logits=True)
        except NotImplementedError:
            pooled = None
        vector = pooled is not None and pooled.dim() == 2
        tokens = as_tokens(last_states(states), self._layout)  # (1, N, D)
        return ImageTowerSpec(
            pooled.shape[1] if vector else None, tokens.shape[2], preprocess=preprocess
        )

    def load_pretrained(self) -> None:
        if self._file:
            file = Path(self._file).expanduser()
            self._load_file(file, WeightsReference("file", str(file.absolute())))
            return
        tag = self._name.partition(".")[2]
        if not tag:
            return
        import timm

        repo = self.model.pretrained_cfg.get("hf_hub_id")
        if not repo:
            raise WeightsError(
                f"The timm weights '{self._name}' are not on the Hub as safetensors: convert them "
                f"and write '{self._name}@FILE.safetensors'."
            )
        file = fetch_file(repo, WEIGHTS)
        digest = joined_sha256([check_weights_file(file)])
        # timm would fetch its own copy, of the newest commit.
        here = {"file": str(file), "custom_load": False}
        try:
            pretrained = timm.create_model(
                self._name, pretrained=True, num_classes=0, pretrained_cfg_overlay=here
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            raise WeightsError(
                f"The weights '{file}' do not fit '{self._name}' ({' '.join(str(error).split())}): "
                f"install the timm release that the weights were made with."
            ) from error
        assign(self.model, pretrained.state_dict())
        self.reference = WeightsReference(
            "hub",
            repo,
            WEIGHTS,
            file.parent.name,
            digest,
            str(self.model.pretrained_cfg.get("license") or ""),
        )

    def _load_file(self, file: Path, reference: WeightsReference) -> None:
        """Strictly load tensors with timm's names; a classifier in the file is left out."""
        tensors, digest = map_weights(file, named=True)
        classifier = self.model.pretrained_cfg.get("classifier") or "classifier"
        kept = {k: v for k, v in tensors.items() if not k.startswith(f"{classifier}.")}
        try:
            if kept.keys() != self.model.state_dict().keys():
                self.model.load_state_dict(kept)  # which says what differs
            assign(self.model, kept)
        except RuntimeError as error:
            raise WeightsError(
                f"The weights '{file}' do not fit '{self._name}' ({' '.join(str(error).split())}): "
                f"choose weights of this model."
            ) from error
        self.reference = WeightsReference(
            reference.kind,
            reference.source,
            reference.file,
            reference.revision,
            digest,
            reference.license,
        )

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        states = self.model.forward_features(pixels)  # a tensor, or one for each branch or stage
        pooled = tokens = mask = None
        if POOLED in wants and self.spec.image is not None:
            if self.spec.image.pooled is None:
                raise IncompatibleError(f"'{self._name}' has no pooled vector, only tokens.")
            pooled = self.model.forward_head(states, pre_logits=True)  # (B, D)
        if TOKENS in wants:
            tokens = as_tokens(last_states(states), self._layout)  # (B, N, D)
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask, self._layout.prefix)


def _preprocess(config: Mapping[str, Any], name: str) -> Preprocess:
    """What `timm.data.transforms_imagenet_eval` does, in the core's words.

    Raises:
        WeightsError: a setting that is not known here.
    """
    _, height, width = config["input_size"]
    sides = math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"])
    resize: int | tuple[int, int] = sides
    if sides[0] == sides[1] if config["crop_mode"] == "center" else sides == (height, width):
        resize = min(sides)
    if config["crop_mode"] not in MODES:
        raise WeightsError(
            f"timm prepares pictures for '{name}' with crop_mode {config['crop_mode']!r}, but "
            f"{', '.join(MODES)} are known here: choose another model."
        )
    mean = config["mean"]
    return Preprocess(
        size=(height, width),
        mean=tuple(mean),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        mode=MODES[config["crop_mode"]],
        resize=resize,
        fill=tuple(round(255 * value) for value in mean) if config["crop_mode"] == "border" else 0,
    )


def _in_patches(preprocess: Preprocess, model: Any) -> Preprocess:
    """The same for a NaFlex model, whose pictures keep their aspect, as timm's `ResizeToSequence`.

    They have as many patches as the square that timm's config names.
    """
    high, wide = model.embeds.patch_size
    height, width = preprocess.size
    if high != wide:
        raise IncompatibleError(
            f"Patches of {high} x {wide} pixels are not square, so pictures cannot keep their "
            f"aspect here: set image_encoder.args.aspect to square."
        )
    return replace(
        preprocess, mode="patches", resize=height // high * (width // wide), multiple=high
    )


def _of_activation(name: str, file: str, activation: str) -> str:
    """The name of the model of that activation.

    Raises:
        ConfigError: nothing tells whether the weights need QuickGELU, or timm has no such model.
    """
    import timm

    model, dot, tag = name.partition(".")
    twin = model.replace(PLAIN, QUICK)
    if QUICK in model or activation == "named":
        return name
    known = twin != model and timm.is_model(twin)
    if activation == "quick_gelu":
        if not known:
            raise ConfigError(
                f"timm has no '{model}' with QuickGELU: leave out the argument activation."
            )
        return f"{twin}{dot}{tag}"
    native = (
        timm.is_model(name)
        and any("quickgelu" in note for note in timm.get_pretrained_cfg(name).notes or ())
        if tag
        else bool(file)
    )
    if activation == "auto" and known and native:
        place = f"@{file}" if file else ""
        raise ConfigError(
            f"'{name}{place}' {'is known to' if tag else 'may'} need QuickGELU, which timm's "
            f"'{model}' does not have, and without which features are silently worse: write "
            f"'timm:{twin}{dot}{tag}{place}', or, to have GELU, give the encoder the argument "
            f"activation=gelu (--set image_encoder.args.activation=gelu)."
        )
    return name


def refuse_texts(towers: frozenset[str], name: str) -> None:
    """Raise IncompatibleError if a text tower is asked for."""
    if "text" in towers:
        raise IncompatibleError(
            f"The encoder '{name}' has no text tower: add one, for instance --text-encoder minilm."
        )
