"""Which models of two towers transformers has, and what of their outputs is taken.

A new type is one row here and one line in the list of tiny models of its test (DUAL_MODELS in
tests/plugins/encoders/dual_models.py). Imports the standard library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vqazoo.errors import IncompatibleError

POOLER, CLS = "pooler_output", "cls"


class DualType(NamedTuple):
    """How the outputs of a `model_type` are read.

    Attributes:
        image, text: the towers.
        image_projection, text_projection: linear layers on the pooled vectors; empty: none.
        image_pooled, text_pooled: `pooler_output`, or `cls`, the first state.
        prefix: tokens before those of the patches.
        joint: config value of the pooled width; empty: the image tower's own width.
        states: value of the text config that is the width of its states.
        kind: class of transformers; `AutoModel` finds it.
        padded: whether texts are read padded to the full length without a mask.
        lowered: whether it was trained on lower-cased texts where its tokenizer is Gemma's.
        naflex: whether the image tower reads patches of pictures that keep their aspect.
        frames: whether it reads videos of `num_frames` frames, after which `mit` joins them.
    """

    image: str = "vision_model"
    text: str = "text_model"
    image_projection: str = "visual_projection"
    text_projection: str = "text_projection"
    image_pooled: str = POOLER
    text_pooled: str = POOLER
    prefix: int = 1
    joint: str = "projection_dim"
    states: str = "hidden_size"
    kind: str = "AutoModel"
    padded: bool = False
    lowered: bool = False
    naflex: bool = False
    frames: bool = False


SIGLIP = DualType(
    image_projection="", text_projection="", prefix=0, joint="", padded=True, lowered=True
)
RETRIEVAL = "BlipForImageTextRetrieval"  # a BLIP with the vectors of its contrastive loss
DUAL_TYPES = {
    "aimv2": DualType(prefix=0),
    "altclip": DualType(text_pooled=CLS, states="project_dim"),
    "blip:BlipModel": DualType(),
    f"blip:{RETRIEVAL}": DualType(
        text="text_encoder",
        image_projection="vision_proj",
        text_projection="text_proj",
        image_pooled=CLS,
        text_pooled=CLS,
        joint="image_text_hidden_size",
        kind=RETRIEVAL,
    ),
    "chinese_clip": DualType(text_pooled=CLS),
    "clip": DualType(),
    "metaclip_2": DualType(),
    "siglip": SIGLIP,
    "siglip2": SIGLIP._replace(naflex=True),
    "xclip": DualType(frames=True),
}


def dual_type(config: Any, place: str) -> DualType:
    """How the model of a config is read.

    Raises:
        IncompatibleError: it is of a type without a row.
    """
    kinds = [f"{config.model_type}:{name}" for name in config.architectures or ()]
    for name in (config.model_type, *kinds):
        if name in DUAL_TYPES:
            return DUAL_TYPES[name]
    named = ", ".join(dict.fromkeys(name.partition(":")[0] for name in DUAL_TYPES))
    if config.model_type == "blip":
        saved = " and ".join(config.architectures or ("nobody",))
        raise IncompatibleError(
            f"'{place}' is a 'blip' model saved by {saved}, "
            f"which has no vectors for pictures and texts, but hf-clip takes BlipModel and "
            f"{RETRIEVAL}: write hf-blip:{place}."
        )
    raise IncompatibleError(
        f"'{place}' is a '{config.model_type}' model, but hf-clip takes {named}: for a text model "
        f"write hf-text:{place}, for an image model hf-image:{place}."
    )
