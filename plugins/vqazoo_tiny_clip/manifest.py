"""Manifests of TinyCLIP, its verbs and its dataset. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, CommandManifest, DatasetManifest, EncoderManifest

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
    license="MIT",
    learnt="drawn shapes",
    unfamiliar="vqazoo_tiny_clip.photographs:is_photograph",
    image=frozenset({"pooled", "tokens"}),
    text=frozenset({"pooled", "tokens"}),
)
FLAWED_SHAPES = DatasetManifest(
    summary="drawn shapes with flaws as in VizWiz: ten answers, some unanswerable; made here",
    build="vqazoo_tiny_clip.flawed_shapes:FlawedShapes",
    source="drawn here; imitates Gurari et al. 2018, VizWiz Grand Challenge",
    args={
        "data_root": Arg(str, "", "folder to keep the pictures in"),
        "ask": Arg(
            str,
            "scene",
            "what is asked: about the scene, or for the flaws of each picture",
            ("scene", "flaws"),
        ),
    },
    splits=("train", "validation", "test"),
    counts={"train": 29_975, "validation": 2_494, "test": 5_007},
    other_counts={"train": 12_000, "validation": 1_000, "test": 2_000},
    license="MIT, drawn by this package",
    example_question="what color is the triangle?",
    shows_pictures=True,
    language="en",
)
RENDER_CAPTIONS = CommandManifest(
    summary="Write rendered pictures of shapes with captions.",
    build="vqazoo_tiny_clip.commands:render_captions",
)
PRETRAIN = CommandManifest(
    summary="Pretrain tiny-clip on rendered captions and measure it.",
    build="vqazoo_tiny_clip.commands:pretrain",
)
PRETRAIN_LANGUAGE_MODEL = CommandManifest(
    summary="Pretrain a small language model on rendered captions and questions.",
    build="vqazoo_tiny_clip.commands:pretrain_language_model",
)
