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


MORE = {  # what a family needs besides; None: it has no such value
    "big_bird": {"block_size": 1, "num_random_blocks": 1},
    "canine": {
        "num_hash_functions": 4,
        "num_hash_buckets": 64,
        "local_transformer_stride": 4,
        "downsampling_rate": 2,
    },
    "convbert": {"embedding_size": 32},
    "cpmant": {"dim_head": 16, "dim_ff": 64, "prompt_types": 4, "prompt_length": 2},
    "fnet": {"num_attention_heads": None},
    "funnel": {
        "hidden_size": None,
        "num_hidden_layers": None,
        "d_model": 32,
        "n_head": 2,
        "d_head": 16,
        "block_sizes": [1, 1],
        "architectures": ["FunnelModel"],
    },
    "mobilebert": {
        "embedding_size": 16,
        "true_hidden_size": 16,
        "intra_bottleneck_size": 16,
        "pad_token_id": 99,  # so that the row of the real one is not zero, as in released weights
    },
    "nystromformer": {"num_landmarks": 2, "segment_means_seq_len": 2},
    "reformer": {
        "attn_layers": ["local"],
        "attention_head_size": 16,
        "local_attn_chunk_length": 4,
        "axial_pos_embds": False,
        "is_decoder": False,
    },
}


@pytest.mark.parametrize("family", ["bert", "yoso", *MORE])
def test_a_question_beside_a_longer_one_is_read_as_transformers_reads_it_alone(
    family: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes = {k: v for k, v in (SIZES | MORE.get(family, {})).items() if v is not None}
    config = transformers.AutoConfig.for_model(family, **sizes)
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
