"""Manifests of the first-party heads. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, HeadManifest
from vqazoo.toolkit.decode_options import BEAM, CONSTRAINTS, EARLY_STOPPING, NUCLEUS, SAMPLE_K

DECODE = {
    "strategy": Arg(
        str,
        "greedy",
        "how tokens are chosen; top_k above 1 always uses beam",
        ("greedy", "nucleus", "beam"),
    ),
    "beam_size": Arg(
        int, 5, "beam: answers kept at every step; at least top_k", minimum=1, strategy=BEAM
    ),
    "temperature": Arg(float, 0.1, "nucleus: below 1 sharpens; published 0.1", strategy=NUCLEUS),
    "top_p": Arg(
        float, 0.9, "nucleus: probability mass to draw from; published 0.9", strategy=NUCLEUS
    ),
    "seed": Arg(
        int, 0, "nucleus: seed of the draws, the same for every question", strategy=NUCLEUS
    ),
    "max_tokens": Arg(int, 0, "longest answer, end included; 0: as in training", minimum=0),
}

LENGTH_PENALTY = Arg(
    float,
    0.0,
    "beam: scores are divided by length ** this; below 0 favours short answers",
    strategy=BEAM,
)
SMOOTHING = Arg(float, 0.0, "probability spread over all outputs", minimum=0, maximum=1)
BALANCE = Arg(
    float,
    0.0,
    "class weights (mean count / count) ** balance; 0: none, 1: inverse frequency",
    minimum=0,
    maximum=1,
)

LINEAR = HeadManifest(
    summary="classifier with answer-type gate and answerability branch (Less Is More)",
    build="vqazoo_heads.linear:LinearHead",
    source="Deuser et al. 2022, Less Is More; answerability: Elnainay et al. 2023",
    args={
        "hidden_dim": Arg(int, 512, "width of the shared layer", minimum=1),
        "dropout": Arg(
            float, 0.5, "before both linear layers of the answer branch", minimum=0, maximum=1
        ),
        "answer_weight": Arg(float, 1.0, "weight of the answer loss", minimum=0),
        "type_weight": Arg(float, 1.0, "weight of the answer-type loss", minimum=0),
        "answerability_weight": Arg(float, 1.0, "weight of the answerability loss", minimum=0),
        "label_smoothing": SMOOTHING,
        "balance": BALANCE,
    },
    weighted_targets=True,
    labels={"answerable": "whether the learnt answer is not 'unanswerable' or 'unsuitable'"},
    requires="pooled",
    answer_mode="classify",
    default_fusion="concat",
    default_fusion_args={"dim": 0},
)
LSTM = HeadManifest(
    summary="writes the answer with an LSTM over borrowed token embeddings (CLIP+LSTM)",
    build="vqazoo_heads.lstm:LSTMHead",
    source="the CLIP+LSTM system (reshalfahsi/vqa-clip-lstm)",
    args={
        "hidden_dim": Arg(int, 512, "width of the LSTM", minimum=1),
        "dropout": Arg(float, 0.42, "before and after the LSTM", minimum=0, maximum=1),
        "full_vocabulary": Arg(
            bool, False, "score every token of the text encoder, not only those of known answers"
        ),
    },
    requires="pooled",
    answer_mode="generate",
    default_fusion="concat",
    borrows=frozenset({"token_embedding"}),
    decode=DECODE,
)
GRU = HeadManifest(
    summary="writes the answer word by word with a GRU (CLIP+GPT-2 system)",
    build="vqazoo_heads.gru:GRUHead",
    source="the CLIP+GPT-2 system (nikhilroxtomar/Generative-VQA-in-PyTorch)",
    args={
        "hidden_dim": Arg(int, 256, "width of word embeddings and of the GRU", minimum=1),
        "label_smoothing": Arg(float, 0.1, "of the training loss", minimum=0, maximum=1),
        "min_count": Arg(
            int, 2, "words rarer than this in the training answers are unknown", minimum=1
        ),
    },
    requires="pooled",
    answer_mode="generate",
    default_fusion="gated",
    decode=DECODE,
)
MLP = HeadManifest(
    summary="plain classifier over the answer list: one hidden layer",
    build="vqazoo_heads.mlp:MLPHead",
    source="the baseline of Jabri et al. 2016, Revisiting VQA Baselines, section 3",
    args={
        "hidden_dim": Arg(int, 1024, "width of the hidden layer", minimum=1),
        "dropout": Arg(float, 0.5, "before the output layer", minimum=0, maximum=1),
        "label_smoothing": SMOOTHING,
        "balance": BALANCE,
    },
    weighted_targets=True,
    requires="pooled",
    answer_mode="classify",
    default_fusion="hadamard",
)
NEAREST_QUESTIONS = HeadManifest(
    summary="looks the answer up: votes of the most similar training questions",
    build="vqazoo_heads.nearest_questions:NearestQuestions",
    source="k nearest neighbours: Cover & Hart 1967; leave-one-out loss: Goldberger et al. 2004, "
    "Neighbourhood Components Analysis",
    args={
        "neighbours": Arg(int, 32, "how many training questions vote", minimum=1),
        "places": Arg(
            int,
            8192,
            "how many training questions are kept, in 4 * D bytes each; of more, some at even "
            "distances",
            minimum=1,
        ),
        "sharpness": Arg(
            float, 20.0, "factor of the cosines at first; it is learnt", minimum=0.1, maximum=1000
        ),
    },
    requires="pooled",
    answer_mode="classify",
    default_fusion="concat",
    default_fusion_args={"dim": 0},
    remembers=True,
)
QUALITY = HeadManifest(
    summary="flaws of a picture, such as blurred or too dark, each with a sigmoid of its own",
    build="vqazoo_heads.quality:QualityHead",
    source="labels: Chiu, Zhao & Gurari 2020, Assessing Image Quality Issues; loss: Teney et al. "
    "2018, section 3.6",
    args={
        "hidden_dim": Arg(int, 256, "width of the hidden layer", minimum=1),
        "dropout": Arg(float, 0.1, "before the output layer", minimum=0, maximum=1),
    },
    weighted_targets=True,
    requires="pooled",
    answer_mode="classify",
    default_fusion="image-only",
    independent_scores=True,
    flaws=True,
)
LM_CLASSIFIER = HeadManifest(
    summary="a borrowed language model reads picture and question; a linear layer picks the answer",
    build="vqazoo_heads.lm_classifier:LMClassifier",
    source="the clip-distilbert system (pmabbo13/imageqa)",
    args={
        "read": Arg(
            str,
            "last",
            "the state that is classified: of the last or first token, or the mean",
            ("last", "first", "mean"),
        ),
        "full_vocabulary": Arg(
            bool, False, "score every word piece; answers of several pieces are not learnt"
        ),
        "label_smoothing": SMOOTHING,
    },
    weighted_targets=True,
    requires="tokens",
    answer_mode="classify",
    default_fusion="prefix-mlp",
    borrows=frozenset({"language_model"}),
)
LM_GENERATE = HeadManifest(
    summary="a borrowed language model reads picture and question and writes the answer",
    build="vqazoo_heads.language_model:LMGenerate",
    source="Mokady et al. 2021, ClipCap; Li et al. 2023, BLIP-2, section 3.3",
    args={
        "max_tokens": Arg(int, 20, "longest answer, end included", minimum=1),
        "label_smoothing": SMOOTHING,
    },
    requires="tokens",
    answer_mode="generate",
    default_fusion="prefix-mlp",
    default_fusion_args={"order": "image-first"},
    borrows=frozenset({"language_model"}),
    captions=True,
    decode={
        **DECODE,
        "length_penalty": LENGTH_PENALTY,
        "early_stopping": EARLY_STOPPING,
        "sample_k": SAMPLE_K,
        **CONSTRAINTS,
    },
)
M4C = HeadManifest(
    summary="writes the answer out of known words and words that are copied from the picture (M4C)",
    build="vqazoo_heads.m4c:M4CHead",
    source="Hu et al. 2020, Iterative Answer Prediction with Pointer-Augmented Multimodal "
    "Transformers for TextVQA",
    args={
        "dim": Arg(int, 256, "width of the transformer; published 768", minimum=1),
        "layers": Arg(int, 4, "transformer layers, as published", minimum=1),
        "heads": Arg(int, 4, "attention heads; published 12", minimum=1),
        "dropout": Arg(float, 0.1, "of the transformer and what it reads", minimum=0, maximum=1),
        "vocabulary": Arg(
            int,
            5000,
            "most frequent words of the training answers; others are only copied",
            minimum=0,
        ),
        "places": Arg(int, 50, "words in a picture that can be copied, the first", minimum=1),
        "steps": Arg(int, 12, "longest answer in words, end included", minimum=2),
    },
    requires="tokens",
    answer_mode="generate",
    default_fusion="placed-tokens",
    decode=DECODE,
    reads_ocr=True,
)
