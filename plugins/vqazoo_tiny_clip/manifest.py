"""Manifests of TinyCLIP and its verbs. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, CommandManifest, EncoderManifest

TINY_CLIP = EncoderManifest(
    summary="tiny two-tower CLIP for 64 x 64 pictures of shapes; weights packaged, works offline",
    build="vqazoo_tiny_clip.encoder:TinyCLIPEncoder",
    source="Radford et al. 2021, CLIP, sections 2.3-2.4; pretrained here on rendered captions",
    args={
        "weights": Arg(
            str, "packaged", "packaged, or random to train from nothing", ("packaged", "random")
        ),
        "image_size": Arg(
            int,
            64,
            "pixels of a side, a multiple of 32; other than 64 there is no pooled vector",
            minimum=32,
        ),
    },
    example="tiny-clip",
    image=frozenset({"pooled", "tokens"}),
    question=frozenset({"pooled", "tokens"}),
)
RENDER_CAPTIONS = CommandManifest(
    summary="Write rendered pictures of shapes with captions.",
    build="vqazoo_tiny_clip.commands:render_captions",
)
PRETRAIN = CommandManifest(
    summary="Pretrain tiny-clip on rendered captions and measure it.",
    build="vqazoo_tiny_clip.commands:pretrain",
)
