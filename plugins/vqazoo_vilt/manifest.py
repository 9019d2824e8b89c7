"""Manifests of ViLT's fusion and head. Imports only the core's torch-free modules."""

from vqazoo.manifests import (
    PLACE,
    Arg,
    EncoderManifest,
    FamilyManifest,
    FusionManifest,
    HeadManifest,
)

HF_VILT = EncoderManifest(
    summary="the embeddings of a ViLT model, both towers: patches and words with their places",
    build="vqazoo_vilt.encoder:HFViltEncoder",
    source="transformers; Kim, Son & Kim 2021, ViLT, section 3.1",
    variant=PLACE,
    example="hf-vilt:dandelin/vilt-b32-finetuned-vqa",
    image=frozenset({"tokens"}),
    text=frozenset({"tokens"}),
)
VILT_FAMILY = FamilyManifest(
    summary="ViLT fine-tuned for question answering",
    build="vqazoo_vilt.published:read",
    source="transformers; Kim, Son & Kim 2021, ViLT",
    model_types=frozenset({"vilt"}),
    examples=("dandelin/vilt-b32-finetuned-vqa",),
)
VILT = FusionManifest(
    summary="one transformer over question and image tokens together (ViLT)",
    build="vqazoo_vilt.fusion:ViLT",
    source="Kim, Son & Kim 2021, ViLT, sections 3.1 and 3.2",
    args={
        "dim": Arg(int, 256, "width of tokens and of the fused vector; published 768", minimum=1),
        "layers": Arg(int, 4, "number of layers; published 12", minimum=1),
        "heads": Arg(int, 4, "attention heads; divides dim; published 12", minimum=1),
        "hidden_dim": Arg(int, 1024, "width inside the MLPs; published 3072", minimum=1),
        "dropout": Arg(float, 0.1, "after attention and in the MLPs", minimum=0, maximum=1),
        "attention_dropout": Arg(float, 0.0, "of attention weights", minimum=0, maximum=1),
        "epsilon": Arg(float, 1e-6, "of the LayerNorms; transformers' port 1e-12", minimum=0),
    },
    requires=frozenset({"image.tokens", "text.tokens"}),
    provides="pooled",
)
VILT_CLASSIFIER = HeadManifest(
    summary="classifier whose answers are scored one by one, by sigmoids (ViLT)",
    build="vqazoo_vilt.classifier:ViLTClassifier",
    source="Kim, Son & Kim 2021, ViLT, section 4.3; Teney et al. 2018, section 3.6",
    weighted_targets=True,
    independent_scores=True,
    requires="pooled",
    answer_mode="classify",
    default_fusion="vilt",
)
