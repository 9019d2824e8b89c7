"""Any open_clip model as an encoder of the zoo. Imports torch; open_clip when one is built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.errors import IncompatibleError, UnknownNameError, WeightsError, did_you_mean
from vqazoo.hub import fetch_file
from vqazoo.interfaces import (
    Encoder,
    EncoderSpec,
    Features,
    Preprocess,
    TowerSpec,
    WeightsReference,
)
from vqazoo.manifests import POOLED, TOKENS
from vqazoo_open_clip.codec import Codec

SCHEMAS = ("hf-hub:", "local-dir:")
HUB_WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
MODES = {"shortest": "crop", "squash": "squash", "longest": "pad"}


class OpenClipEncoder(Encoder):
    """Both towers of an open_clip model; a tower that is not asked for is dropped.

    `ViT-B-32` has random weights, `ViT-B-32@openai` those of a tag of open_clip, and
    `ViT-B-32@weights.safetensors` those of a file. `hf-hub:org/repo` and `local-dir:folder` bring
    architecture, preprocessing and weights. Only safetensors is read.

    Pooled features are what `encode_image` and `encode_text` return, of norm 1. Image tokens are
    the states of the last layer before the final norm: patches after the class token for ViT
    (num_prefix 1), the last map for ResNet, and the trunk's features for timm towers. Question
    tokens are the states that the pooling sees, without a CoCa tower's own class token. CLIP's own
    causal text tower reads no padding, which stands behind the text and changes nothing; others
    read questions padded to the full context length, as open_clip does.
    """

    def __init__(self, variant: str | None, towers: frozenset[str]) -> None:
        super().__init__()
        assert variant is not None
        schema = next((schema for schema in SCHEMAS if variant.startswith(schema)), "")
        name, _, self._tag = (variant, "", "") if schema else variant.partition("@")
        self._name = name
        self.model = _build(name, self._tag)
        self._drop(towers)
        text_config, preprocess = _configs(name, self._tag, self.model)
        self.spec = EncoderSpec(preprocess=preprocess)
        if "question" in towers:
            codec = Codec(name, text_config)
            self.codec, self._pad_id, self._context = codec, codec.pad_id, codec.context_length
            self.start_id, self.end_id = codec.start_id, codec.end_id
        self.spec = self._measure(towers, preprocess)

    def _drop(self, towers: frozenset[str]) -> None:
        """Remove what a missing tower would only keep in memory and in the fingerprint."""
        unused = {"logit_scale", "logit_bias", "text_decoder"}
        if "image" not in towers:
            unused.add("visual")
        if "question" not in towers:
            unused |= {"text", "transformer", "token_embedding", "ln_final", "text_projection",
                       "positional_embedding", "attn_mask"}  # fmt: skip
        for name in unused:
            if hasattr(self.model, name):
                setattr(self.model, name, None)

    @torch.no_grad()
    def _measure(self, towers: frozenset[str], preprocess: Preprocess) -> EncoderSpec:
        """Widths, from one forward pass on the random weights: towers have no uniform attribute."""
        self.eval()
        every = frozenset({POOLED, TOKENS})
        image = question = context = None
        if "image" in towers:
            found = self.encode_image(torch.zeros(1, 3, *preprocess.size), every)
            image = _spec(found)
        if "question" in towers:
            question = _spec(self.encode_question(*self.tokenize(["a"]), every))
            context = self._context
        return EncoderSpec(image, question, preprocess, context)

    # ---- weights ----------------------------------------------------------------------------

    def load_pretrained(self) -> None:
        located = _locate(self._name, self._tag)
        if located is None:
            return
        file, reference = located
        content = file.read_bytes()
        from open_clip.factory import load_checkpoint

        full = _build(self._name, self._tag)
        try:
            load_checkpoint(full, str(file), strict=True)
        except (RuntimeError, KeyError, ValueError, OSError, SafetensorError) as error:
            raise WeightsError(
                f"The weights '{file}' do not fit '{self._name}' "
                f"({' '.join(str(error).split()[:40])} ...): choose weights of this architecture."
            ) from error
        found = full.state_dict()
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                tensor.copy_(found[name])
        self.reference = WeightsReference(
            reference.kind, reference.source, reference.file, reference.revision,
            hashlib.sha256(content).hexdigest(),
        )  # fmt: skip

    # ---- image ------------------------------------------------------------------------------

    def encode_image(self, pixels: Tensor, wants: frozenset[str]) -> Features:
        visual = self.model.visual
        if visual is None:
            return super().encode_image(pixels, wants)
        if TOKENS not in wants:
            return Features(F.normalize(_first(visual(pixels)), dim=-1))  # (B, D)
        vector, tokens, prefix = _image_states(visual, pixels)  # (B, D), (B, N, D)
        pooled = F.normalize(vector, dim=-1) if POOLED in wants else None  # (B, D)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Features(pooled, tokens, mask, prefix)

    # ---- question ---------------------------------------------------------------------------

    def encode_question(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        length = ids.shape[1]
        if _is_causal(self.model):
            pooled, tokens = _causal_states(self.model, ids)  # (B, D), (B, L, W)
        else:
            missing = self._context - length
            full = F.pad(ids, (0, missing), value=self._pad_id)  # (B, context)
            with _caught(self._token_module()) as states:
                pooled = self.model.encode_text(full, normalize=True)  # (B, D)
            tokens = _hidden(states[0])[:, :length]  # (B, L, W)
        if TOKENS not in wants:
            return Features(pooled)
        return Features(pooled if POOLED in wants else None, tokens, mask)

    def _token_module(self) -> nn.Module:
        """The module whose output is one state a token."""
        text = getattr(self.model, "text", None)
        if text is None:
            return self.model.ln_final  # CLIP keeps its text tower at the top
        if getattr(text, "cls_emb", None) is not None or not hasattr(text, "ln_final"):
            return text.transformer  # CoCa norms only what it pools; HF towers have no ln_final
        return text.ln_final

    def lend(self, name: str) -> nn.Module:
        if name != "token_embedding":
            raise IncompatibleError(f"open_clip encoders lend no '{name}', only token_embedding.")
        text = getattr(self.model, "text", None)
        if text is None:
            found = self.model.token_embedding
        elif hasattr(text, "token_embedding"):
            found = text.token_embedding
        else:
            found = text.transformer.get_input_embeddings()
        assert isinstance(found, nn.Module)
        return found


# ---- towers ---------------------------------------------------------------------------------


def _is_causal(model: Any) -> bool:
    """Whether the text tower is CLIP's own, where no token sees what follows."""
    ends = getattr(model, "text_pool_type", None) in ("argmax", "eos")
    return type(model).__name__ == "CLIP" and ends and model.attn_mask is not None


def _causal_states(model: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled vectors (B, D) and states (B, L, W) of `CLIP.encode_text` for ids (B, L), L short."""
    from open_clip.transformer import text_global_pool

    length = ids.shape[1]
    dtype = model.transformer.get_cast_dtype()
    x = model.token_embedding(ids).to(dtype) + model.positional_embedding[:length].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])  # (B, L, W)
    tokens = model.ln_final(x)  # (B, L, W)
    last = getattr(model, "text_eos_id", None)
    pooled = text_global_pool(tokens, ids, model.text_pool_type, eos_token_id=last)  # (B, W)
    project = model.text_projection
    if project is not None:
        pooled = project(pooled) if isinstance(project, nn.Linear) else pooled @ project  # (B, D)
    return F.normalize(pooled, dim=-1), tokens


def _image_states(visual: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Pooled vector (B, D), tokens (B, N, D) and number of prefix tokens, of any tower."""
    module: Any = visual
    kind = type(visual).__name__
    if kind == "TimmModel":
        states = module.trunk.forward_features(pixels)  # (B, N, D), (B, D, H, W) or (B, H, W, D)
        vector = module.head(module.trunk.forward_head(states))  # (B, D)
        channels_last = states.dim() == 4 and states.shape[-1] == module.trunk.num_features
        if states.dim() == 4:
            tokens = states.flatten(1, 2) if channels_last else states.flatten(2).transpose(1, 2)
        else:
            tokens = states
        return vector, tokens, getattr(module.trunk, "num_prefix_tokens", 0)
    if kind == "ModifiedResNet":
        with _caught(module.layer4) as states:
            vector = module(pixels)  # (B, D)
        return vector, states[0].flatten(2).transpose(1, 2), 0  # (B, HW, D)
    with _caught(module.transformer) as states:
        vector = _first(module(pixels))  # (B, D)
    return vector, states[0], 1


@contextmanager
def _caught(module: nn.Module) -> Iterator[list[Any]]:
    """The output of a module inside a larger forward pass."""
    outputs: list[Any] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def _first(output: Any) -> Tensor:
    """CoCa towers return (vector, tokens), the others the vector."""
    vector: Tensor = output[0] if isinstance(output, tuple) else output
    return vector


def _hidden(output: Any) -> Tensor:
    """transformers models return an object, open_clip modules a tensor."""
    states: Tensor = getattr(output, "last_hidden_state", output)
    return states


def _spec(features: Features) -> TowerSpec:
    assert features.pooled is not None
    assert features.tokens is not None
    return TowerSpec(features.pooled.shape[1], features.tokens.shape[2], normalized=True)


# ---- building -------------------------------------------------------------------------------


def _build(name: str, tag: str) -> Any:
    """The model with random weights; nothing but a Hub repo's config is downloaded.

    Raises:
        UnknownNameError: no such architecture; WeightsError: a config cannot be had.
    """
    import open_clip

    if not name.startswith(SCHEMAS):
        known = open_clip.list_models()
        if name not in known:
            raise UnknownNameError(
                f"Unknown open_clip architecture {name!r}.{did_you_mean(name, known)} "
                f"open_clip.list_models() shows all {len(known)}."
            )
        config = open_clip.get_model_config(name)
    else:
        config = _read_config(name)["model_cfg"]
    quick = _tag_config(name, tag).get("quick_gelu")
    overrides = {"quick_gelu": True} if quick else {}
    try:
        return _construct(dict(config) | overrides)
    except (OSError, ValueError) as error:  # an HF text tower reads its config from the Hub
        raise WeightsError(
            f"The config of a text tower of '{name}' cannot be had "
            f"({str(error).splitlines()[0]}): fetch the repository that {CONFIG} names."
        ) from error


def _construct(config: dict[str, Any]) -> nn.Module:
    """As open_clip.create_model builds it, but without any weights."""
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP

    text, vision = dict(config.pop("text_cfg")), dict(config.pop("vision_cfg"))
    text["hf_model_pretrained"] = False
    vision["timm_model_pretrained"] = False
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    model: type[nn.Module] = CLIP
    if custom:
        model = CoCa if "multimodal_cfg" in config else CustomTextCLIP
    with _no_code_of_repositories() if "hf_model_name" in text else nullcontext():
        return model(**config, text_cfg=text, vision_cfg=vision)


@contextmanager
def _no_code_of_repositories() -> Iterator[None]:
    """Where a text tower's config names code of its repository, transformers refuses it instead of
    asking the user; open_clip offers no argument for that."""
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def _read_config(name: str) -> dict[str, Any]:
    """open_clip_config.json of a folder or Hub repo."""
    schema, _, place = name.partition(":")
    if schema == "local-dir":
        file = Path(place).expanduser() / CONFIG
        if not file.is_file():
            raise WeightsError(f"There is no '{file}': name a folder that open_clip saved.")
    else:
        file = fetch_file(place, CONFIG)
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        config["model_cfg"]["text_cfg"], config["model_cfg"]["vision_cfg"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"'{file}' is not an open_clip config ({error!r}).") from error
    if "trust_remote_code" in json.dumps(config):
        raise WeightsError(
            f"'{file}' asks to run code of its repository (trust_remote_code), which is never "
            f"done: use an encoder that open_clip itself builds."
        )
    return config


def _tag_config(name: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of a tag; empty for random weights, files, folders and repos."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    if not tag or tag.endswith(".safetensors"):
        return {}
    config: dict[str, Any] = get_pretrained_cfg(name, tag)
    if not config:
        tags = list_pretrained_tags_by_model(name)
        raise UnknownNameError(
            f"Unknown weights {tag!r} of the open_clip architecture '{name}'."
            f"{did_you_mean(tag, tags)} Its tags are {', '.join(tags) or 'none'}; a file must end "
            f"in .safetensors."
        )
    return config


def _configs(name: str, tag: str, model: Any) -> tuple[dict[str, Any], Preprocess]:
    """The text config and the preprocessing that belong to these weights."""
    import open_clip
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    given: dict[str, Any] = _tag_config(name, tag)
    if name.startswith(SCHEMAS):
        config = _read_config(name)
        text, given = config["model_cfg"]["text_cfg"], config.get("preprocess_cfg", {})
    else:
        text = open_clip.get_model_config(name)["text_cfg"]
    filled = merge_preprocess_dict(vars(PreprocessCfg()), given)
    size = getattr(model.visual, "image_size", None) or filled["size"]
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return text, Preprocess(
        size=(height, width),
        mean=tuple(filled["mean"]),
        std=tuple(filled["std"]),
        interpolation=filled["interpolation"],
        mode=MODES[filled["resize_mode"]],
        fill=filled["fill_color"],
    )


def _locate(name: str, tag: str) -> tuple[Path, WeightsReference] | None:
    """The weights file and where it comes from; None for random weights."""
    schema, _, place = name.partition(":")
    if schema == "hf-hub" and name.startswith(SCHEMAS):
        return _from_hub(place, HUB_WEIGHTS)
    if schema == "local-dir" and name.startswith(SCHEMAS):
        return _from_file(Path(place).expanduser() / HUB_WEIGHTS)
    if not tag:
        return None
    if tag.endswith(".safetensors"):
        return _from_file(Path(tag).expanduser())
    repo, _, file = str(_tag_config(name, tag).get("hf_hub", "")).rpartition("/")
    if not repo:
        raise WeightsError(
            f"The weights '{name}@{tag}' are published as a pickle only, which is not read: "
            f"convert them to safetensors and write '{name}@FILE.safetensors'."
        )
    return _from_hub(repo, Path(file).stem + ".safetensors" if file else HUB_WEIGHTS)


def _from_file(file: Path) -> tuple[Path, WeightsReference]:
    if not file.is_file():
        raise WeightsError(f"There is no weights file '{file}': check the path.")
    return file, WeightsReference("file", str(file.absolute()))


def _from_hub(repo: str, name: str) -> tuple[Path, WeightsReference]:
    file = fetch_file(repo, name)
    return file, WeightsReference("hub", repo, name, file.parent.name)  # snapshots/<commit>/file
