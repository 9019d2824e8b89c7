"""Manifest of the Q-Former fusion. Imports only the core's torch-free modules."""

from vqazoo.manifests import PLACE, Arg, EncoderManifest, FamilyManifest, FusionManifest

HF_BLIP2 = EncoderManifest(
    summary="the ViT of a BLIP-2 model; image tower only",
    build="vqazoo_blip2.encoder:HFBlip2Encoder",
    source="transformers; Li et al. 2023, BLIP-2, section 3.4",
    variant=PLACE,
    example="hf-blip2:Salesforce/blip2-opt-2.7b",
    image=frozenset({"pooled", "tokens"}),
)
BLIP2_FAMILY = FamilyManifest(
    summary="BLIP-2 with OPT or Flan-T5, which writes answers",
    build="vqazoo_blip2.published:read",
    source="transformers; Li et al. 2023, BLIP-2",
    model_types=frozenset({"blip-2"}),
    examples=("Salesforce/blip2-opt-2.7b", "Salesforce/blip2-flan-t5-xl"),
)
Q_FORMER = FusionManifest(
    summary="learned queries read the image and stand as a soft prompt before the question",
    build="vqazoo_blip2.fusion:QFormerFusion",
    source="Li et al. 2023, BLIP-2, section 3",
    args={
        "queries": Arg(int, 32, "learned queries: length of the soft prompt", minimum=1),
        "layers": Arg(int, 12, "number of layers", minimum=1),
        "heads": Arg(int, 12, "attention heads; divides dim", minimum=1),
        "dim": Arg(int, 768, "width of queries and text inside", minimum=1),
        "hidden_dim": Arg(int, 3072, "width inside the feed-forward halves", minimum=1),
        "cross_frequency": Arg(
            int, 2, "every this many layers, from the first on, look at the image", minimum=1
        ),
        "dropout": Arg(float, 0.1, "of attention and layer outputs", minimum=0, maximum=1),
        "reads_question": Arg(
            bool,
            False,
            "queries see the question too, as in VQA fine-tuning; false: the picture alone",
        ),
    },
    requires=frozenset({"image.tokens", "text.tokens"}),
    provides="tokens",
)
OBJECTIVE_ARGS = {
    "dim": Arg(int, 256, "itc: width of the common space", minimum=1),
    "temperature": Arg(float, 0.07, "itc: at the start; it is learnt", minimum=0.001, maximum=0.5),
    "label_smoothing": Arg(float, 0.1, "of itc and itg", minimum=0, maximum=1),
    "hard_negatives": Arg(
        bool, True, "itm: false pairs drawn by their similarity; false: any are as likely"
    ),
    "max_tokens": Arg(int, 32, "longest caption, start and end included", minimum=3),
    "tied": Arg(bool, True, "itg: words are scored by the borrowed embedding; false: own layer"),
}
