"""Manifests of GIT's parts. Imports only the core's torch-free modules."""

from vqazoo.manifests import (
    PLACE,
    Arg,
    EncoderManifest,
    FamilyManifest,
    FusionManifest,
    HeadManifest,
)
from vqazoo.toolkit.decode_options import BEAM, CONSTRAINTS, EARLY_STOPPING, NUCLEUS, SAMPLE_K

SOURCE = "Wang et al. 2022, GIT; the authors' GenerativeImage2Text"

HF_GIT = EncoderManifest(
    summary="the image tower and the text embeddings of a GIT model, which a decoder may borrow",
    build="vqazoo_git.encoder:HFGitEncoder",
    source="transformers; Wang et al. 2022, GIT, section 3.1",
    variant=PLACE,
    example="hf-git:microsoft/git-base-vqav2",
    image=frozenset({"tokens"}),
    text=frozenset({"tokens"}),
    lends=frozenset({"token_embedding", "text_embedding"}),
)
GIT_FAMILY = FamilyManifest(
    summary="GIT, which writes answers about pictures and videos, and captions",
    build="vqazoo_git.published:read",
    source="transformers; Wang et al. 2022, GIT",
    model_types=frozenset({"git"}),
    examples=(
        "microsoft/git-base-vqav2",
        "microsoft/git-base-textvqa",
        "microsoft/git-large-vqav2",
        "microsoft/git-base",
        "microsoft/git-base-vatex",
    ),
)
GIT_FUSION = FusionManifest(
    summary="image tokens, projected, in front of the question's; frames of a video too (GIT)",
    build="vqazoo_git.fusion:GITFusion",
    source=f"{SOURCE}, section 3",
    args={
        "dim": Arg(int, 0, "width of the fused tokens; 0: of the question's", minimum=0),
        "frames": Arg(
            int, 0, "frames of a video it tells apart; 0: pictures only; published 6", minimum=0
        ),
        "image_tokens": Arg(bool, True, "off: a baseline that never looks at the picture"),
    },
    requires=frozenset({"image.tokens", "text.tokens"}),
    provides="tokens",
    blind_args={"image_tokens": False},
)
GIT_DECODER = HeadManifest(
    summary="a transformer over image, question and answer tokens writes or ranks answers (GIT)",
    build="vqazoo_git.decoder:GITDecoder",
    source=f"{SOURCE}, sections 3 and 4",
    args={
        "layers": Arg(int, 6, "number of layers; published 6", minimum=1),
        "heads": Arg(int, 12, "attention heads; divides the width; published 12", minimum=1),
        "hidden_dim": Arg(int, 3072, "width inside each layer's MLP; published 3072", minimum=1),
        "dropout": Arg(float, 0.1, "of attention and layers; published 0.1", minimum=0, maximum=1),
        "epsilon": Arg(float, 1e-12, "of the layers' norms; published 1e-12", minimum=0),
        "label_smoothing": Arg(
            float, 0.1, "of the training loss; published 0.1", minimum=0, maximum=1
        ),
        "tied": Arg(
            bool,
            True,
            "score with the word embeddings and a bias of its own, as the original; "
            "off: with weights of its own, as transformers",
        ),
        "longest": Arg(
            int,
            0,
            "longest answer written, end included; 0: the longest known one, or 40 if none "
            "is known",
            minimum=0,
        ),
    },
    requires="tokens",
    answer_mode="generate",
    default_fusion="git",
    borrows=frozenset({"token_embedding", "text_embedding"}),
    captions=True,
    decode={
        "strategy": Arg(
            str,
            "greedy",
            "how tokens are chosen; published beam; top_k above 1 always uses beam",
            ("greedy", "nucleus", "beam"),
        ),
        "beam_size": Arg(
            int,
            4,
            "beam: answers kept at every step; at least top_k; published 4",
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
        "temperature": Arg(float, 0.1, "nucleus: below 1 sharpens", strategy=NUCLEUS),
        "top_p": Arg(float, 0.9, "nucleus: probability mass to draw from", strategy=NUCLEUS),
        "sample_k": SAMPLE_K,
        "seed": Arg(
            int, 0, "nucleus: seed of the draws, the same for every question", strategy=NUCLEUS
        ),
        "max_tokens": Arg(int, 0, "longest answer, end included; 0: as the model's", minimum=0),
        **CONSTRAINTS,
        "max_length": Arg(
            int,
            0,
            "longest question and answer together, in tokens, unless max_tokens is given; 0: any",
            minimum=0,
        ),
        "min_length": Arg(int, 0, "shortest question and answer together, in tokens", minimum=0),
        "eos_token_ids": Arg(
            list, [], "tokens that end an answer; empty: the tokenizer's; [-1]: none does"
        ),
        "suppress_tokens": Arg(list, [], "tokens that are never written"),
        "begin_suppress_tokens": Arg(list, [], "tokens that no answer starts with"),
        "bad_words_ids": Arg(list, [], "lists of tokens that are never written in a row"),
        "forced_bos_token_id": Arg(
            int, -1, "the first token of a caption, where nothing is asked; -1: any", minimum=-1
        ),
        "forced_eos_token_id": Arg(
            int, -1, "the last token of an answer that grows too long; -1: any", minimum=-1
        ),
    },
)
