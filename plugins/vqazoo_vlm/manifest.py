"""Manifest of the family `vlm`. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, FamilyManifest, FusionManifest, HeadManifest
from vqazoo.toolkit.decode_options import BEAM

# The response formatting prompt of LLaVA-1.5: Liu et al. 2023, Improved Baselines with Visual
# Instruction Tuning.
SHORT = "Answer the question using a single word or phrase."

VLM_FAMILY = FamilyManifest(
    summary="small vision-language models of transformers, asked through their own chat template",
    build="vqazoo_vlm.published:read",
    source="transformers, AutoModelForImageTextToText; each model's own processor",
    model_types=frozenset(
        {
            "florence2",
            "idefics3",
            "internvl",
            "llava",
            "llava_onevision",
            "paligemma",
            "qwen2_5_vl",
            "qwen2_vl",
            "qwen3_vl",
            "smolvlm",
        }
    ),
    examples=(
        "HuggingFaceTB/SmolVLM-256M-Instruct",
        "Qwen/Qwen2-VL-2B-Instruct",
        "florence-community/Florence-2-base-ft",
        "google/paligemma-3b-mix-224",
    ),
)
PROMPT = FusionManifest(
    summary="picture and question side by side, as they are",
    requires=frozenset({"image.tokens", "text.tokens"}),
    provides="tokens",
)
WRITER = HeadManifest(
    summary="a published vision-language model writes or ranks answers",
    source="transformers, GenerationMixin.generate",
    requires="tokens",
    answer_mode="generate",
    default_fusion="",
    decode={
        "instruction": Arg(
            str,
            SHORT,
            "what the prompt says behind the question, of models with a chat template; empty: "
            "nothing (response formatting prompt of LLaVA-1.5, Liu et al. 2023)",
        ),
        "strategy": Arg(
            str,
            "published",
            "how tokens are chosen: published does as generation_config.json says, but never "
            "draws at random; top_k above 1 always uses beam",
            ("published", "greedy", "beam"),
        ),
        "beam_size": Arg(
            int, 4, "beam: answers kept at every step; at least top_k", minimum=1, strategy=BEAM
        ),
        "max_tokens": Arg(
            int,
            0,
            "longest answer, end included; 0: as generation_config.json says, at most 64",
            minimum=0,
        ),
    },
)
