"""A question's vectors do not depend on longer ones beside it, whatever the family's layers do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from tests.plugins.encoders.tiny import tokenizer
from vqazoo.registry import registry

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 40,
}
WANTED = frozenset({"pooled", "tokens"})


@pytest.mark.parametrize("family", ["bert", "convbert", "fnet", "yoso"])
def test_a_question_beside_a_longer_one_is_read_as_transformers_reads_it_alone(
    family: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    more = {"embedding_size": 32} if family == "convbert" else {}
    sizes = {k: v for k, v in SIZES.items() if not (family == "fnet" and "heads" in k)}
    config = transformers.AutoConfig.for_model(family, **sizes, **more)
    tokenizer(tmp_path, "bert")
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    ours = registry.build(
        "encoder", f"hf-text:{tmp_path}", str(tmp_path), frozenset({"text"}), pooling="mean"
    )
    ours.load_pretrained()
    ours.eval()
    ids, mask = ours.tokenize(["what is this red circle on a blue square", "what is this"])
    with torch.no_grad():
        found = ours.encode_text(ids, mask, WANTED)
        for row, real in enumerate(mask.sum(dim=1).tolist()):
            alone = theirs(input_ids=ids[row : row + 1, :real]).last_hidden_state[0]  # (l, D)
            torch.testing.assert_close(found.tokens[row, :real], alone, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.pooled[row], alone.mean(dim=0), rtol=1e-4, atol=1e-5)
