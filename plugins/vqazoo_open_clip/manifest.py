"""Manifest of the open_clip encoders. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, EncoderManifest

BOTH = frozenset({"pooled", "tokens"})

OPEN_CLIP = EncoderManifest(
    summary="any open_clip model, both towers: ViT, ResNet, ConvNeXt, timm, HF text, CoCa, SigLIP",
    build="vqazoo_open_clip.encoder:OpenClipEncoder",
    source="open_clip (mlfoundations/open_clip); Radford et al. 2021, CLIP",
    variant="<arch>, <arch>@<tag>, <arch>@<file.safetensors>, hf-hub:<repo> or local-dir:<folder>",
    args={
        "activation": Arg(
            str,
            "auto",
            "auto: of the tag or config; gelu and quick_gelu say it of a file; named: as the "
            "architecture's name says, never asked",
            ("auto", "gelu", "quick_gelu", "named"),
            before="named",
        )
    },
    names="vqazoo_open_clip:names.json",
    example="open-clip:ViT-B-32@openai",
    image=BOTH,
    text=BOTH,
)
