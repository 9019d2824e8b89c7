"""The text tower around a language model: prompts, tokens, weights, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from tests.plugins.language_models import tiny
from vqazoo.errors import ConfigError, IncompatibleError, WeightsError
from vqazoo.registry import registry
from vqazoo.testing import check_encoder
from vqazoo_hf.language_model import HFLanguageModel
from vqazoo_hf.language_tower import LanguageTower

TEXT = frozenset({"text"})
TOKENS = frozenset({"tokens"})
QUESTIONS = ["what is this?", "is the color of the circle red"]
PROMPT = "Question: {} Answer:"


def build(place, towers=TEXT, load=True, **args):
    encoder = registry.build("encoder", f"hf-lm:{place}", str(place), towers, **args)
    if load:
        encoder.load_pretrained()
    return encoder.eval()


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_reading_towers_keep_the_contract(tmp_path, family):
    encoder = build(tiny.save(tmp_path, family))
    check_encoder(encoder, registry.manifest("encoder", "hf-lm"))


def test_the_packaged_minilm_keeps_the_contract_and_is_the_published_model():
    encoder = registry.build("encoder", "minilm-lm", None, TEXT)
    encoder.load_pretrained()
    check_encoder(encoder.eval(), registry.manifest("encoder", "minilm-lm"))
    assert (encoder.reference.kind, encoder.reference.license) == ("package", "Apache-2.0")
    plain = registry.build("encoder", "minilm", None, TEXT)
    plain.load_pretrained()
    ids, mask = encoder.tokenize(QUESTIONS)
    with torch.no_grad():
        wanted = plain.eval().encode_text(ids, mask, TOKENS).tokens
        words = encoder.encode_text(ids, mask, TOKENS).tokens
        found = encoder.lend("language_model").states(words, mask)
    torch.testing.assert_close(found[mask], wanted[mask], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [*tiny.ENCODERS, *tiny.DECODERS, *tiny.BOTH])
@torch.no_grad()
def test_tokens_are_word_embeddings_without_positions(tmp_path, family):
    encoder = build(tiny.save(tmp_path, family), positions="sequence")
    ids, mask = encoder.tokenize(QUESTIONS)
    features = encoder.encode_text(ids, mask, TOKENS)
    weights = encoder.lend("token_embedding").weight
    assert torch.equal(features.tokens, weights[ids])
    assert torch.equal(features.mask, mask)
    assert encoder.spec.text.tokens == features.tokens.shape[2]
    assert encoder.spec.text.pooled is None
    with pytest.raises(IncompatibleError, match="offers tokens only"):
        encoder.encode_text(ids, mask, frozenset({"pooled"}))


@pytest.mark.parametrize("family", [*tiny.ENCODERS, *tiny.DECODERS, *tiny.BOTH])
def test_the_weights_are_those_of_the_folder(tmp_path, family):
    folder = tiny.save(tmp_path, family, seed=5)
    random, loaded = build(folder, load=False), build(folder)
    wanted = tiny.model(family, seed=5).state_dict()
    found = loaded.lend("language_model").model.state_dict()
    assert found.keys() <= wanted.keys()
    assert wanted.keys() - found.keys() <= {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(torch.equal(wanted[name], tensor) for name, tensor in found.items())
    other = random.lend("language_model").model.state_dict()
    assert not all(torch.equal(other[name], tensor) for name, tensor in found.items())


def test_weights_that_do_not_fill_the_model_are_refused(tmp_path):
    folder = tiny.save(tmp_path, "gpt2", n_layer=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layer": 2}))
    with pytest.raises(WeightsError, match=r"do not fill the model.*h\.1\."):
        build(folder)


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_the_folder_of_a_blip2_model_gives_its_language_model(tmp_path, language):
    torch.manual_seed(0)
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = transformers.Blip2Config(
        vision_config={**small, "image_size": 32, "patch_size": 16},
        qformer_config={**small, "encoder_hidden_size": 32, "vocab_size": 96},
        text_config=tiny.config(language).to_dict(),
        num_query_tokens=4,
    )
    whole = transformers.Blip2ForConditionalGeneration(config)
    whole.save_pretrained(tmp_path)
    tiny.tokenizer(tmp_path, language)
    found = build(tmp_path).lend("language_model").model.state_dict()
    wanted = whole.language_model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(wanted[name], tensor) for name, tensor in found.items())


# ---- prompts and tokens -----------------------------------------------------------------------


def test_questions_are_put_into_the_prompt_with_the_tokenizers_own_special_tokens(tmp_path):
    folder = tiny.save(tmp_path, "t5")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids, mask = build(folder, prompt=PROMPT).tokenize(QUESTIONS)
    for row, question in enumerate(QUESTIONS):
        wanted = tokenizer(f"Question: {question} Answer:")["input_ids"]
        assert ids[row, mask[row]].tolist() == wanted


def test_braces_in_a_question_are_text(tmp_path):
    folder = tiny.save(tmp_path, "gpt2")
    encoder = build(folder, prompt="Q:{}A:")
    ids, mask = encoder.tokenize(["is {} or {0} it?"])
    assert encoder.decode(ids[0, mask[0]].tolist()) == "Q:is {} or {0} it?A:"


@pytest.mark.parametrize(("prompt", "count"), [("Answer:", 0), ("{} {}", 2), ("{0}", 0)])
def test_a_prompt_needs_exactly_one_place_for_the_question(tmp_path, prompt, count):
    folder = tiny.save(tmp_path, "gpt2")
    with pytest.raises(ConfigError, match=rf"has {count} places {{}} for the question.*write for"):
        build(folder, prompt=prompt)


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_a_long_question_loses_its_end_but_the_prompt_does_not(tmp_path, family):
    prompt = PROMPT if family == "gpt2" else "what {} color ?"
    encoder = build(tiny.save(tmp_path, family), prompt=prompt)
    limit = min(48, encoder.codec.tokenizer.model_max_length)
    question = "is it a red circle " * 20
    ids, _ = encoder.tokenize([question, "why?"])
    assert ids.shape[1] == limit
    tokenizer = encoder.codec.tokenizer
    whole = tokenizer(prompt.replace("{}", question.strip()))["input_ids"]
    tail = len(tokenizer(prompt.split("{}")[1])["input_ids"]) - (family == "bert")
    assert ids[0].tolist() == whole[: limit - tail] + whole[-tail:]
    # the core warns from the first token that is cut
    assert encoder.spec.context_length == limit - encoder.codec.overhead + 2


@pytest.mark.parametrize(("prompt", "lead"), [("{}", " "), (PROMPT, " "), ("{}\n", "")])
def test_an_answer_after_a_prompt_begins_with_a_blank_in_byte_level_bpe(tmp_path, prompt, lead):
    encoder = build(tiny.save(tmp_path, "gpt2"), prompt=prompt)
    (ids,) = encoder.pieces(["red"])
    wanted = encoder.codec.tokenizer(f"{lead}red")["input_ids"]
    assert ids == wanted
    assert encoder.decode(ids) == "red"


def test_word_pieces_and_encoder_decoders_spell_answers_as_they_are(tmp_path):
    for family in ("bert", "t5"):
        encoder = build(tiny.save(tmp_path / family, family))
        assert len(encoder.pieces(["red"])[0]) == 1
        assert encoder.pieces([""]) == [[]]


def test_the_end_token_is_the_tokenizers_own_or_the_one_named(tmp_path):
    folder = tiny.save(tmp_path, "opt")
    assert build(folder).end_id == 95
    (semicolon,) = build(folder).codec.tokenizer(";")["input_ids"]
    assert build(folder, end=";").end_id == semicolon
    with pytest.raises(ConfigError, match="The end 'ab' is spelled with 2 tokens"):
        build(folder, end="ab")
    assert build(tiny.save(tmp_path / "t5", "t5")).end_id == 1
    assert build(tiny.save(tmp_path / "bert", "bert")).end_id == 3  # [SEP]


# ---- chat templates ---------------------------------------------------------------------------

TURNS = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)


def chatting(folder, template=TURNS, jinja=False):
    """A language model whose tokenizer states a template, in its config or in a file of its own."""
    tiny.save(folder, "llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder, save_jinja_files=jinja)
    return folder


@pytest.mark.parametrize("jinja", [False, True])
def test_with_chat_a_question_is_the_turn_that_transformers_makes_of_it(tmp_path, jinja):
    folder = chatting(tmp_path, jinja=jinja)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = build(folder, chat=True, prompt="{}\nin one word")
    ids, mask = encoder.tokenize(["what is this?", "why?"])
    for row, question in enumerate(["what is this?", "why?"]):
        turn = [{"role": "user", "content": f"{question}\nin one word"}]
        wanted = tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
        assert ids[row, mask[row]].tolist() == wanted
    named = {file.file for file in encoder.files}
    assert ("chat_template.jinja" in named) == jinja


def test_with_chat_an_answer_begins_as_in_the_template_and_a_caption_as_any_text(tmp_path):
    encoder = build(chatting(tmp_path), chat=True)
    assert encoder.pieces(["red"]) == [encoder.codec.tokenizer("red")["input_ids"]]  # after \n
    ids, mask = encoder.tokenize(["", "why?"])
    assert mask.sum(1).tolist()[0] == 1
    assert ids[0, 0] == encoder.end_id  # this tokenizer puts nothing before a text


def test_with_chat_a_long_question_loses_its_end_but_the_turn_does_not(tmp_path):
    encoder = build(chatting(tmp_path), chat=True)
    ids, _ = encoder.tokenize(["is it a red circle " * 20])
    assert ids.shape[1] == min(48, encoder.codec.tokenizer.model_max_length)
    assert encoder.codec.tokenizer.decode(ids[0]).endswith("<assistant>")


def test_nobody_is_asked_by_a_template_that_is_not_wanted(tmp_path):
    with_template = build(chatting(tmp_path / "a")).tokenize(QUESTIONS)[0]
    assert torch.equal(
        with_template, build(tiny.save(tmp_path / "b", "llama")).tokenize(QUESTIONS)[0]
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "states no chat template.*chat=true needs: leave it false"),
        ("hello", r"makes 'hello' of the prompt, in which \{\} stands 0 times"),
        ("{{ raise_exception('no turns') }}", r"fails on one turn of the user \(no turns\)"),
    ],
)
def test_a_template_that_cannot_ask_is_refused(tmp_path, template, said):
    with pytest.raises(ConfigError, match=said):
        build(chatting(tmp_path, template), chat=True)


# ---- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "distilbert", "t5"])
def test_a_language_model_without_a_tokenizer_is_refused(tmp_path, family):
    tiny.model(family).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"has no tokenizer: add tokenizer\.json and"):
        build(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    tiny.model("gpt2", vocab_size=50, bos_token_id=1, eos_token_id=1).save_pretrained(tmp_path)
    tiny.tokenizer(tmp_path, "gpt2")
    with pytest.raises(IncompatibleError, match="knows 96 tokens, but the language model"):
        build(tmp_path)


def test_it_has_no_image_tower(tmp_path):
    with pytest.raises(IncompatibleError, match="has no image tower: add one"):
        build(tiny.save(tmp_path, "gpt2"), frozenset({"image", "text"}))


def test_a_tower_takes_a_language_model_built_elsewhere(tmp_path):
    tiny.tokenizer(tmp_path, "opt")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tower = LanguageTower(
        HFLanguageModel.from_config(tiny.config("opt")), tokenizer, prompt=PROMPT, end=""
    )
    other = HFLanguageModel(tiny.model("opt", seed=3).bfloat16())
    tower.language_model = other
    assert tower.lend("language_model") is other
    features = tower.encode_text(*tower.tokenize(QUESTIONS), TOKENS)
    assert features.tokens.dtype == torch.bfloat16
    with pytest.raises(IncompatibleError, match="lends no 'text_embedding'"):
        tower.lend("text_embedding")
