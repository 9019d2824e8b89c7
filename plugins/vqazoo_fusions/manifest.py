"""Manifests of the first-party fusions. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, FusionManifest

BOTH_POOLED = frozenset({"image.pooled", "text.pooled"})
BOTH_TOKENS = frozenset({"image.tokens", "text.tokens"})
DIM = Arg(int, 512, "width of the fused vector", minimum=1)

CONCAT = FusionManifest(
    summary="question and image side by side, then one linear layer (dim 0: no layer)",
    build="vqazoo_fusions.pooled:Concat",
    source="the CLIP+LSTM system (reshalfahsi/vqa-clip-lstm); dim 0: Deuser et al. 2022",
    args={
        "dim": Arg(
            int, 512, "width of the fused vector; 0: plain concatenation, no layer", minimum=0
        )
    },
    requires=BOTH_POOLED,
    provides="pooled",
)
HADAMARD = FusionManifest(
    summary="both projected to one width, then multiplied elementwise",
    build="vqazoo_fusions.pooled:Hadamard",
    source="Antol et al. 2015, VQA, section 5 (LSTM Q + I: point-wise multiplication)",
    args={"dim": DIM},
    requires=BOTH_POOLED,
    provides="pooled",
)
SUM = FusionManifest(
    summary="both projected to one width, then added",
    build="vqazoo_fusions.pooled:Sum",
    source="the additive baseline of Fukui et al. 2016, MCB, table 1 (elementwise sum)",
    args={"dim": DIM},
    requires=BOTH_POOLED,
    provides="pooled",
)
GATED = FusionManifest(
    summary="a learnt gate weighs image against question, then a refinement MLP",
    build="vqazoo_fusions.pooled:Gated",
    source="the CLIP+GPT-2 system (nikhilroxtomar/Generative-VQA-in-PyTorch), model.py",
    args={
        "dim": Arg(int, 256, "width of the fused vector", minimum=1),
        "dropout": Arg(float, 0.3, "dropout in the refinement MLP", minimum=0, maximum=1),
    },
    requires=BOTH_POOLED,
    provides="pooled",
)
BILINEAR = FusionManifest(
    summary="low-rank bilinear: tanh projections multiplied, then projected",
    build="vqazoo_fusions.pooled:Bilinear",
    source="Kim et al. 2017, Hadamard Product for Low-rank Bilinear Pooling, section 3.1",
    args={"dim": DIM, "rank": Arg(int, 1024, "rank of the bilinear form", minimum=1)},
    requires=BOTH_POOLED,
    provides="pooled",
)
MUTAN = FusionManifest(
    summary="Tucker decomposition of the bilinear form: a core of limited rank between tanh layers",
    build="vqazoo_fusions.mutan:Mutan",
    source="Ben-younes et al. 2017, MUTAN, section 3; Cadene/vqa.pytorch",
    args={
        "dim": Arg(int, 256, "width of the fused vector; published 360", minimum=1),
        "hidden_dim": Arg(int, 256, "width of both projections; published 360", minimum=1),
        "rank": Arg(int, 5, "rank of each slice of the core; published 10", minimum=1),
        "dropout": Arg(float, 0.1, "dropout of both vectors; published 0.5", minimum=0, maximum=1),
    },
    requires=BOTH_POOLED,
    provides="pooled",
)
CROSS_ATTENTION = FusionManifest(
    summary="question tokens attend to image tokens; the attended question is pooled",
    build="vqazoo_fusions.cross_attention:CrossAttention",
    source="Vaswani et al. 2017, section 3.2; layer order of LXMERT (Tan & Bansal 2019)",
    args={
        "dim": Arg(int, 256, "width of tokens and of the fused vector", minimum=2),
        "layers": Arg(int, 2, "number of blocks", minimum=1),
        "heads": Arg(int, 4, "attention heads; divides dim", minimum=1),
        "dropout": Arg(float, 0.1, "dropout of attention and MLP outputs", minimum=0, maximum=1),
    },
    requires=BOTH_TOKENS,
    provides="pooled",
)
STACKED_ATTENTION = FusionManifest(
    summary="the question attends to image tokens several times, knowing what it saw before",
    build="vqazoo_fusions.stacked_attention:StackedAttention",
    source="Yang et al. 2016, Stacked Attention Networks, section 3.3",
    args={
        "dim": Arg(int, 256, "width of tokens and of the fused vector", minimum=1),
        "steps": Arg(int, 2, "how often the question looks; published 2", minimum=1),
        "glimpses": Arg(int, 4, "attention maps a step; published 1", minimum=1),
        "dropout": Arg(float, 0.0, "dropout of both projections", minimum=0, maximum=1),
    },
    requires=frozenset({"image.tokens", "text.pooled"}),
    provides="pooled",
)
MCAN = FusionManifest(
    summary="question and image attend to themselves, the image to the question, layer on layer",
    build="vqazoo_fusions.mcan:MCAN",
    source="Yu et al. 2019, Deep Modular Co-Attention Networks, sections 3 and 4",
    args={
        "dim": Arg(int, 256, "width of tokens; published 512 (small), 1024 (large)", minimum=1),
        "layers": Arg(int, 2, "layers of each side; published 6", minimum=1),
        "heads": Arg(int, 4, "attention heads; divides dim; published 8", minimum=1),
        "pool_dim": Arg(int, 256, "width of the MLP that pools; published 512", minimum=1),
        "glimpses": Arg(int, 1, "poolings of each side; published 1", minimum=1),
        "out_dim": Arg(int, 512, "width of the fused vector; published 1024, 2048", minimum=1),
        "dropout": Arg(float, 0.1, "dropout of all layers; published 0.1", minimum=0, maximum=1),
    },
    requires=BOTH_TOKENS,
    provides="pooled",
)
BAN = FusionManifest(
    summary="bilinear attention maps over all pairs of word and image token, read one by one",
    build="vqazoo_fusions.ban:BAN",
    source="Kim et al. 2018, Bilinear Attention Networks, section 3; jnhwkim/ban-vqa",
    args={
        "dim": Arg(int, 256, "width of words and of the fused vector; published 1024", minimum=1),
        "glimpses": Arg(int, 4, "attention maps; published 4 and 8", minimum=1),
        "dropout": Arg(
            float, 0.2, "dropout before linear layers; published 0.2", minimum=0, maximum=1
        ),
        "attention_dropout": Arg(
            float, 0.5, "dropout inside the attention; published 0.5", minimum=0, maximum=1
        ),
    },
    requires=BOTH_TOKENS,
    provides="pooled",
)
_FACTORISED = {
    "factor": Arg(int, 5, "products summed into one entry; published 5", minimum=1),
    "glimpses": Arg(int, 2, "attention maps of each side; published 2", minimum=1),
    "hidden_dim": Arg(int, 256, "width of the MLPs that attend; published 512", minimum=1),
    "dropout": Arg(float, 0.1, "dropout of the products; published 0.1", minimum=0, maximum=1),
}
MFB = FusionManifest(
    summary="co-attention, then factorised bilinear pooling with signed root and norm",
    build="vqazoo_fusions.mfb:MFB",
    source="Yu et al. 2017, Multi-modal Factorized Bilinear Pooling, sections 3 and 4",
    args={"dim": Arg(int, 256, "width of the fused vector; published 1000", minimum=1)}
    | _FACTORISED,
    requires=BOTH_TOKENS,
    provides="pooled",
)
MFH = FusionManifest(
    summary="co-attention, then several factorised poolings, each fed by the one before",
    build="vqazoo_fusions.mfh:MFH",
    source="Yu et al. 2018, Beyond Bilinear (MFH), section III",
    args={
        "dim": Arg(int, 256, "width of what each pooling gives; published 1000", minimum=1),
        "order": Arg(int, 2, "number of poolings; published 2", minimum=1),
    }
    | _FACTORISED,
    requires=BOTH_TOKENS,
    provides="pooled",
)
QUESTION_ONLY = FusionManifest(
    summary="baseline that never looks at the picture",
    build="vqazoo_fusions.pooled:QuestionOnly",
    source="the language-only baseline of Goyal et al. 2017, Making the V in VQA Matter",
    requires=BOTH_POOLED,  # the picture is encoded, then ignored
    provides="pooled",
    ignores="image",
)
IMAGE_ONLY = FusionManifest(
    summary="baseline that never reads the question",
    build="vqazoo_fusions.pooled:ImageOnly",
    source="the image-only baseline of Antol et al. 2015, VQA, section 5",
    requires=BOTH_POOLED,  # the question is encoded, then ignored
    provides="pooled",
    ignores="text",
)
PREFIX_MLP = FusionManifest(
    summary="image tokens through an MLP into a language model's words, joined with the question",
    build="vqazoo_fusions.prefix:PrefixMLP",
    source="the clip-distilbert system (pmabbo13/imageqa); Mokady et al. 2021, ClipCap, section 3; "
    "Liu et al. 2023, LLaVA-1.5, section 3",
    args={
        "num_layers": Arg(
            int,
            2,
            "linear layers of the mapping; 0: none, or one projection if widths differ",
            minimum=0,
            maximum=4,
        ),
        "hidden_dim": Arg(int, 1024, "width between the layers", minimum=1),
        "final_activation": Arg(bool, True, "activation after the last layer as well"),
        "activation": Arg(
            str,
            "relu",
            "between the layers: relu as imageqa, gelu as LLaVA-1.5",
            ("relu", "gelu"),
            before="relu",
        ),
        "order": Arg(
            str,
            "question-first",
            "question-first: image tokens last, as imageqa; image-first: as ClipCap and BLIP-2",
            ("question-first", "image-first"),
        ),
    },
    requires=BOTH_TOKENS,
    provides="tokens",
)
IMAGE_TOKENS = FusionManifest(
    summary="image tokens alone, for captions; the question is ignored",
    build="vqazoo_fusions.prefix:ImageTokens",
    source="the captioner of Li et al. 2022, BLIP, section 3.3",
    requires=BOTH_TOKENS,  # the question is read, then ignored
    provides="tokens",
    ignores="text",
)
FILM_BLOCKS = FusionManifest(
    summary="the question scales and shifts the channels of a convolutional net over the image",
    build="vqazoo_fusions.film:FiLMBlocks",
    source="Perez et al. 2018, FiLM, section 2",
    args={
        "dim": Arg(int, 512, "width of the fused vector", minimum=1),
        "hidden_dim": Arg(int, 128, "channels of the blocks", minimum=1),
        "layers": Arg(int, 4, "number of blocks", minimum=1),
    },
    requires=frozenset({"image.tokens", "text.pooled"}),
    provides="pooled",
)
TOP_DOWN_ATTENTION = FusionManifest(
    summary="the question looks once at the image's regions; gated tanh of both, multiplied",
    build="vqazoo_fusions.top_down_attention:TopDownAttention",
    source="Anderson et al. 2018, Bottom-Up and Top-Down Attention, section 3.3; Teney et al. 2018",
    args={"dim": DIM},
    requires=frozenset({"image.tokens", "text.pooled"}),
    provides="pooled",
)
RELATION_NETWORK = FusionManifest(
    summary="every pair of places in the image is looked at with the question, then summed",
    build="vqazoo_fusions.relation_network:RelationNetwork",
    source="Santoro et al. 2017, A simple neural network module for relational reasoning",
    args={
        "dim": Arg(int, 256, "width of the fused vector", minimum=1),
        "hidden_dim": Arg(int, 256, "width of the layers that look at a pair", minimum=1),
        "layers": Arg(int, 4, "number of layers that look at a pair", minimum=1),
        "dropout": Arg(float, 0.5, "dropout of the fused vector", minimum=0, maximum=1),
    },
    requires=frozenset({"image.tokens", "text.pooled"}),
    provides="pooled",
)
MAC = FusionManifest(
    summary="steps of reasoning: each chooses words, reads the image for them, and writes it down",
    build="vqazoo_fusions.mac:MAC",
    source="Hudson & Manning 2018, Compositional Attention Networks, section 3",
    args={
        "dim": Arg(int, 256, "width of control, memory and fused vector; published 512", minimum=1),
        "steps": Arg(int, 4, "number of steps; published 12", minimum=1),
    },
    requires=frozenset({"image.tokens", "text.pooled", "text.tokens"}),
    provides="pooled",
)
PLACED_TOKENS = FusionManifest(
    summary="question tokens and image tokens with their boxes side by side (M4C)",
    build="vqazoo_fusions.placed_tokens:PlacedTokens",
    source="Hu et al. 2020, Iterative Answer Prediction with Pointer-Augmented Multimodal "
    "Transformers for TextVQA, section 3.1",
    args={"dim": Arg(int, 256, "width of the tokens that are handed on", minimum=1)},
    requires=BOTH_TOKENS,
    provides="tokens",
)
