"""Which image models of transformers are read, and what of their outputs is taken.

A new type is one row here, one line in the list of tiny models of its test (IMAGE_MODELS in
tests/plugins/encoders/image_models.py), and nothing else. Imports the standard library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vqazoo.errors import IncompatibleError, WeightsError

POOLER, CLS, MEAN = "pooler", "cls", "mean"
MOST_PREFIX = 1000  # class and register tokens of a model; released ones have at most 16


class ImageType(NamedTuple):
    """How the outputs of a `model_type` are read.

    Attributes:
        pooled: what its release takes for the picture: `pooler` (`pooler_output`), `cls` (the first
            state), `mean` (over the states of patches), the name of another output, or nothing.
        prefix: tokens before those of the patches: numbers, and names of config values that count
            them.
        tower: the image tower of a model of two; empty: there is no other.
        pooler_of: classes, as `architectures` of config.json names them, that have learnt the
            pooler; saved by another, such as a classifier, a model is pooled as `without`. Empty:
            every class has it.
        without: how such a model is pooled.
        naflex: whether it reads patches of pictures that keep their aspect.
    """

    pooled: str = POOLER
    prefix: tuple[int | str, ...] = (0,)
    tower: str = ""
    pooler_of: tuple[str, ...] = ()
    without: str = CLS
    naflex: bool = False

    def prefix_tokens(self, config: Any, place: str) -> int:
        """How many tokens come before those of the patches.

        Raises:
            WeightsError: the config counts more than any model has, of which every pass would be
                made.
        """
        counts = {n: n if isinstance(n, int) else int(getattr(config, n)) for n in self.prefix}
        for name, count in counts.items():
            if not 0 <= count <= MOST_PREFIX:
                raise WeightsError(
                    f"'{place}' sets '{name}' to {count:,}, but 0 to {MOST_PREFIX:,} class or "
                    f"register tokens were expected: do not trust the folder, or get it again, all "
                    f"of one revision."
                )
        return sum(counts.values())


MAP = ImageType()  # patches alone, (B, D, H, W) or (B, N, D), and a pooler that is always there
REGISTERS = (1, "num_register_tokens")
IMAGE_TYPES = {
    "aimv2_vision_model": ImageType(),  # without use_head it has no pooled vector
    "aimv2": ImageType(tower="vision_model"),
    "altclip": ImageType(prefix=(1,), tower="vision_model"),
    "beit": ImageType(prefix=(1,)),
    "bit": MAP,
    "chinese_clip": ImageType(prefix=(1,), tower="vision_model"),
    "clip": ImageType(prefix=(1,), tower="vision_model"),
    "clip_vision_model": ImageType(prefix=(1,)),
    "convnext": MAP,
    "convnextv2": MAP,
    "data2vec-vision": ImageType(prefix=(1,)),  # whose plain class pools nothing
    "deit": ImageType(prefix=(2,), pooler_of=("DeiTModel",)),
    "dinov2": ImageType(prefix=(1,)),
    "dinov2_with_registers": ImageType(prefix=REGISTERS),
    "dinov3_convnext": ImageType(prefix=(1,)),
    "dinov3_vit": ImageType(prefix=REGISTERS),
    "focalnet": MAP,
    "hiera": MAP,
    "ijepa": ImageType(pooled=MEAN),  # as IJepaForImageClassification
    "levit": MAP,
    "metaclip_2": ImageType(prefix=(1,), tower="vision_model"),
    "mlcd": ImageType(prefix=(1,)),
    "mlcd_vision_model": ImageType(prefix=(1,)),
    "mobilenet_v1": MAP,
    "mobilenet_v2": MAP,
    "pixio": ImageType(prefix=("n_cls_tokens",)),
    "pvt": ImageType(pooled=CLS, prefix=(1,)),
    "pvt_v2": ImageType(pooled=MEAN),
    "radio": ImageType(pooled="summary", prefix=("num_cls_tokens", "num_registers")),
    "regnet": MAP,
    "resnet": MAP,
    "siglip": ImageType(tower="vision_model"),
    "siglip_vision_model": MAP,
    "siglip2": ImageType(tower="vision_model", naflex=True),
    "siglip2_vision_model": ImageType(naflex=True),
    "swin": MAP,
    "swinv2": MAP,
    "tipsv2": ImageType(prefix=REGISTERS, tower="vision_model"),
    "tipsv2_vision_model": ImageType(prefix=REGISTERS),
    "vit": ImageType(prefix=(1,), pooler_of=("ViTModel",)),
    "vit_msn": ImageType(pooled=CLS, prefix=(1,)),
}


def image_type(config: Any, place: str) -> ImageType:
    """How the model of a config is read; one that is not in the table is read as a map.

    A map (B, D, H, W) with a `pooler_output` can be read in one way only; `HFImageEncoder` refuses
    a type without a row whose outputs are something else.
    """
    known = IMAGE_TYPES.get(config.model_type)
    if known is not None:
        return known
    if any(getattr(config, name, None) is not None for name in ("text_config", "vocab_size")):
        raise unknown(config.model_type, place)
    return MAP


def unknown(model_type: str, place: str) -> IncompatibleError:
    return IncompatibleError(
        f"'{place}' is a '{model_type}' model, of which hf-image does not know how the picture's "
        f"vector and tokens are taken: name a model of a known type "
        f"({', '.join(sorted(IMAGE_TYPES))}), or the same network as timm:<model>."
    )
