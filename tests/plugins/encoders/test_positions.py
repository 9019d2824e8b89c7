"""Questions longer than a model has positions for: cut as the library cuts them, no IndexError."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.encoders.texts import LIMIT, SMALL, family, word_tokenizer
from vqazoo.registry import registry
from vqazoo_hf.language_model import HFLanguageModel
from vqazoo_hf.positions import position_limit

transformers = pytest.importorskip("transformers")

LONG = "what is the color of the red circle " * 6  # 48 words
FAMILIES = (
    "bert",
    "distilbert",
    "electra",
    "albert",
    "deberta-v2",
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "gpt2",
    "opt",
    "llama",
    "bart",
    "t5",
    "xlnet",
)
COUNTING = ("t5", "xlnet")  # of distances, so any length
BOTH = frozenset({"pooled", "tokens"})


@pytest.mark.parametrize("said", [LIMIT, LIMIT + 2, None], ids=["right", "too-long", "none"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_long_question_is_cut_as_by_the_library(tmp_path, name, said):
    folder = family(tmp_path / name, name, said)
    encoder = registry.build(
        "encoder", f"hf-text:{folder}", str(folder), frozenset({"text"}), pooling="mean"
    )
    encoder.load_pretrained()
    auto = "T5EncoderModel" if name == "t5" else "AutoModel"
    published = getattr(transformers, auto).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    longest = (said or 512) if name in COUNTING else LIMIT
    given = tokenizer(LONG, truncation=True, max_length=longest, return_tensors="pt")
    given = {key: given[key] for key in ("input_ids", "attention_mask")}
    ids, mask = encoder.tokenize([LONG, "no"])
    assert encoder.spec.context_length == longest
    assert ids[0].tolist() == given["input_ids"][0].tolist()
    with torch.no_grad():
        found = encoder.eval().encode_text(ids, mask, BOTH)
        wanted = published(**given).last_hidden_state
    torch.testing.assert_close(found.tokens[:1], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["roberta", "xlm-roberta", "camembert", "mpnet", "bert", "gpt2", "opt", "bart"]
)
def test_a_language_model_reads_as_many_tokens_as_it_has_positions_for(tmp_path, name):
    config = transformers.AutoConfig.from_pretrained(family(tmp_path / name, name))
    model = HFLanguageModel.from_config(config).eval()
    assert model.context_length == LIMIT == position_limit(model.model)
    whole = torch.ones(1, LIMIT, dtype=torch.bool)
    with torch.no_grad():
        embedded = model.embed(torch.full((1, LIMIT), 7))
        if model.kind == "decoder":
            model.logits(embedded[:, :-1], whole[:, :-1], torch.tensor([[7, 8]]))
        else:
            model.states(embedded, whole)


def test_a_decoder_of_the_roberta_family_counts_as_its_encoder(tmp_path):
    config = transformers.AutoConfig.from_pretrained(family(tmp_path / "roberta", "roberta"))
    config.is_decoder = True
    model = HFLanguageModel.from_config(config).eval()
    assert model.kind == "decoder"
    assert model.context_length == LIMIT
    with torch.no_grad():
        embedded = model.embed(torch.full((1, LIMIT - 1), 7))
        model.logits(embedded, torch.ones(1, LIMIT - 1, dtype=torch.bool), torch.tensor([[7, 8]]))


@pytest.mark.parametrize("name", ["squeezebert", "layoutlm", "ibert"])
def test_families_that_always_pool_or_name_their_width_otherwise_are_read(tmp_path, name):
    folder = tmp_path / name
    words = word_tokenizer(folder, "roberta", LIMIT)
    more = {
        "embedding_size": 32,
        "q_groups": 1,
        "k_groups": 1,
        "v_groups": 1,
        "post_attention_groups": 1,
        "intermediate_groups": 1,
        "output_groups": 1,
    }
    config = transformers.AutoConfig.for_model(
        name,
        **SMALL,
        vocab_size=words,
        max_position_embeddings=LIMIT + 2,
        pad_token_id=1,
        **(more if name == "squeezebert" else {}),
    )
    torch.manual_seed(0)
    published = transformers.AutoModel.from_config(config).eval()
    published.save_pretrained(folder)
    encoder = registry.build(
        "encoder", f"hf-text:{folder}", str(folder), frozenset({"text"}), pooling="mean"
    )
    encoder.load_pretrained()
    ids, mask = encoder.tokenize(["what is this"])
    with torch.no_grad():
        found = encoder.eval().encode_text(ids, mask, BOTH)
        wanted = published(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(found.tokens, wanted, rtol=1e-5, atol=1e-5)
