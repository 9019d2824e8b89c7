"""How families of text models are pooled where no file of the folder says it.

Imports the standard library.
"""

from __future__ import annotations

from typing import Any

CLS, MEAN, LAST = "cls", "mean", "last"
FAMILIES = {
    **dict.fromkeys(("bert", "distilbert", "roberta", "mpnet", "electra", "albert"), CLS),
    **dict.fromkeys(("deberta-v2", "xlm-roberta", "xlm-roberta-xl", "camembert"), CLS),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "opt", "gpt_neox", "llama"), MEAN),
    "nomic_bert": MEAN,  # Nussbaum et al. 2024, Nomic Embed
}
DECODERS = ("qwen2", "qwen3")  # Zhang et al. 2025, Qwen3 Embedding: the last token's state
# What `classifier_pooling` of a config says; EuroBERT's "late" is a mean over what tokens say.
CLASSIFIERS = {"cls": CLS, "bos": CLS, "mean": MEAN, "late": MEAN}
SAY_IT = ("modernbert", "eurobert")


def family_pooling(config: Any) -> str | None:
    """The pooling of the family of a config: `cls`, `mean`, `last`, or None where it is unknown."""
    if config.model_type in SAY_IT:
        return CLASSIFIERS.get(config.classifier_pooling)
    if config.model_type == "gemma3_text":  # read both ways (EmbeddingGemma), or as a decoder
        return MEAN if config.use_bidirectional_attention else LAST
    if config.model_type in DECODERS:
        return LAST if getattr(config, "is_causal", True) else MEAN
    return FAMILIES.get(config.model_type)
