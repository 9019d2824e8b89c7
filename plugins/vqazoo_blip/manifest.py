"""Manifests of BLIP's parts. Imports only the core's torch-free modules."""

from vqazoo.manifests import (
    PLACE,
    Arg,
    EncoderManifest,
    FamilyManifest,
    FusionManifest,
    HeadManifest,
)
from vqazoo.toolkit.decode_options import BEAM, CONSTRAINTS, EARLY_STOPPING, NUCLEUS, SAMPLE_K

LAYERS = Arg(int, 2, "number of layers; published 12", minimum=1)
HEADS = Arg(int, 4, "attention heads; divides the width; published 12", minimum=1)
HIDDEN = Arg(int, 1024, "width inside each layer's MLP; published 3072", minimum=1)
DROPOUT = Arg(float, 0.1, "of embeddings, attention and layers", minimum=0, maximum=1)

HF_BLIP = EncoderManifest(
    summary="the ViT and the text embeddings of a BLIP model",
    build="vqazoo_blip.encoder:HFBlipEncoder",
    source="transformers; Li et al. 2022, BLIP, section 3.1",
    variant=PLACE,
    example="hf-blip:Salesforce/blip-vqa-base",
    args={
        "first_token": Arg(
            str,
            "enc",
            "of a question: enc, as in the original, or cls, as in transformers",
            ("enc", "cls"),
        ),
        "clean": Arg(bool, True, "prepare questions as the original; transformers does not"),
        "context_length": Arg(
            int, 35, "longest question in tokens; 0: as the model has positions", minimum=0
        ),
    },
    image=frozenset({"pooled", "tokens"}),
    text=frozenset({"tokens"}),
    lends=frozenset({"token_embedding", "text_embedding"}),
)
BLIP_FAMILY = FamilyManifest(
    summary="BLIP, which writes or ranks answers, and its captioner",
    build="vqazoo_blip.published:read",
    source="transformers; Li et al. 2022, BLIP",
    model_types=frozenset({"blip"}),
    examples=(
        "Salesforce/blip-vqa-base",
        "Salesforce/blip-vqa-capfilt-large",
        "Salesforce/blip-image-captioning-base",
    ),
)
WORDS = EncoderManifest(
    summary="another text encoder's tokenizer with word embeddings learnt from scratch (BLIP)",
    build="vqazoo_blip.words:WordsEncoder",
    source="Li et al. 2022, BLIP, section 3.1 (BERT embeddings, [DEC] and [ENC])",
    variant="<text encoder>",
    names_encoder=True,
    example="words:tiny-clip",
    args={
        "dim": Arg(int, 256, "width of the embeddings; published 768", minimum=1),
        "context_length": Arg(
            int, 0, "longest question in tokens; 0: as the text encoder's", minimum=0
        ),
        "dropout": DROPOUT,
    },
    text=frozenset({"tokens"}),
    lends=frozenset({"token_embedding", "text_embedding"}),
)
MED_FUSION = FusionManifest(
    summary="question tokens look at each other and at the image in every layer (BLIP)",
    build="vqazoo_blip.fusion:MedFusion",
    source="Li et al. 2022, BLIP, section 3.1 (image-grounded text encoder)",
    args={
        "dim": Arg(int, 256, "width; 0: of the question's tokens; published 768", minimum=0),
        "layers": LAYERS,
        "heads": HEADS,
        "hidden_dim": HIDDEN,
        "dropout": DROPOUT,
        "mask_questions": Arg(
            bool, True, "hide the padding of shorter questions from the head; transformers does not"
        ),
    },
    requires=frozenset({"image.tokens", "text.tokens"}),
    provides="tokens",
)
MED_DECODER = HeadManifest(
    summary="writes the answer with a text decoder over the fused tokens, or ranks answers (BLIP)",
    build="vqazoo_blip.decoder:MedDecoder",
    source="Li et al. 2022, BLIP, sections 3.1 and 4.3; the authors' blip_vqa.py",
    args={
        "dim": Arg(int, 256, "width; 0: of the fused tokens; published 768", minimum=0),
        "layers": LAYERS,
        "heads": HEADS,
        "hidden_dim": HIDDEN,
        "dropout": DROPOUT,
        "label_smoothing": Arg(
            float, 0.1, "of the training loss, and of ranking as published", minimum=0, maximum=1
        ),
        "context_length": Arg(
            int, 64, "positions: start, prompt and answer together; published 512", minimum=3
        ),
        "longest": Arg(
            int,
            0,
            "longest answer written, end included; 0: the longest known one, or as "
            "context_length allows if none is known",
            minimum=0,
        ),
        "prompt": Arg(str, "", "read before every answer; BLIP's captioner: 'a picture of '"),
    },
    weighted_targets=True,
    captions=True,
    requires="tokens",
    answer_mode="generate",
    default_fusion="med",
    borrows=frozenset({"token_embedding"}),
    decode={
        "strategy": Arg(
            str,
            "greedy",
            "how tokens are chosen, or rank: the known answers are scored; top_k "
            "above 1 uses rank or beam",
            ("greedy", "nucleus", "beam", "rank"),
        ),
        "beam_size": Arg(
            int,
            3,
            "beam: answers kept at every step; at least top_k; published 3",
            minimum=1,
            strategy=BEAM,
        ),
        "length_penalty": Arg(
            float,
            0.0,
            "beam: the log-probability is divided by length ** this; transformers' 1",
            strategy=BEAM,
        ),
        "early_stopping": EARLY_STOPPING,
        "first_k": Arg(
            int,
            128,
            "rank: answers scored in full, by their first token",
            minimum=1,
            strategy="rank",
        ),
        "temperature": Arg(float, 0.1, "nucleus: below 1 sharpens", strategy=NUCLEUS),
        "top_p": Arg(float, 0.9, "nucleus: probability mass to draw from", strategy=NUCLEUS),
        "sample_k": SAMPLE_K,
        "seed": Arg(
            int, 0, "nucleus: seed of the draws, the same for every question", strategy=NUCLEUS
        ),
        "max_tokens": Arg(int, 0, "longest answer, end included; 0: as the model's", minimum=0),
        **CONSTRAINTS,
    },
)
OBJECTIVE_ARGS = {
    "dim": Arg(int, 256, "itc: width of the common space", minimum=1),
    "temperature": Arg(float, 0.07, "itc: at the start; it is learnt", minimum=0.001, maximum=0.5),
    "momentum": Arg(float, 0.995, "itc: of the slow copies", minimum=0, maximum=1),
    "queue": Arg(int, 4096, "itc: past pairs compared with; paper: 57,600", minimum=0),
    "alpha": Arg(float, 0.4, "itc: share of the soft targets", minimum=0, maximum=1),
    "hard_negatives": Arg(
        bool, True, "itm: false pairs drawn by their similarity; false: any are as likely"
    ),
    "label_smoothing": Arg(float, 0.1, "of lm", minimum=0, maximum=1),
    "max_tokens": Arg(int, 30, "longest caption, start and end included", minimum=3),
}
