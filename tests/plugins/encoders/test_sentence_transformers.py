"""A sentence-transformers folder gives what SentenceTransformer.encode gives, or says why not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.plugins.encoders.texts import change, family
from vqazoo.errors import IncompatibleError, VqazooError, WeightsError
from vqazoo.registry import registry

library = pytest.importorskip("sentence_transformers")
modules = pytest.importorskip("sentence_transformers.models")

TEXT = frozenset({"text"})
BOTH = frozenset({"pooled", "tokens"})
QUESTIONS = ["what is this ?", "What color is the RED Circle", "no", "is it red or blue or what"]
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
OLD = (
    "cls_token",
    "max_tokens",
    "mean_tokens",
    "mean_sqrt_len_tokens",
    "weightedmean_tokens",
    "lasttoken",
)
FAMILIES = ("bert", "distilbert", "roberta", "mpnet", "xlm-roberta", "gpt2", "llama", "t5")


def sentence(folder, name="bert", *, modes="mean", after=(), transformer=None, limit=16, **said):
    """A model that the library itself wrote."""

    place = folder.with_name(folder.name + "-plain")
    plain = family(place, name, limit, said=said.pop("config", None))
    first = modules.Transformer(str(plain), **(transformer or {}))
    pooling = modules.Pooling(32, modes, include_prompt=said.pop("include_prompt", True))
    model = library.SentenceTransformer(modules=[first, pooling, *after], device="cpu", **said)
    model.save(str(folder))
    return folder


def ours(folder, **args):
    encoder = registry.build("encoder", f"hf-text:{folder}", str(folder), TEXT, **args)
    encoder.load_pretrained()
    return encoder.eval()


def theirs(folder, texts=QUESTIONS):
    """One text at a time: what stands beside a text in a batch is none of its business."""
    model = library.SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"dtype": "float32"}
    )
    return torch.stack([model.encode(text, convert_to_tensor=True) for text in texts])


def check(folder, **args):
    encoder = ours(folder, **args)
    with torch.no_grad():
        found = encoder.encode_text(*encoder.tokenize(QUESTIONS), BOTH)
    wanted = theirs(folder)
    torch.testing.assert_close(found.pooled, wanted, rtol=1e-5, atol=1e-5)
    assert encoder.spec.text.pooled == wanted.shape[1]
    norms = wanted.norm(dim=-1)
    assert not encoder.spec.text.normalized or torch.allclose(norms, torch.ones_like(norms))
    return encoder, found


# What each release has after its transformer, in the order of its modules.json.
RELEASED = {
    "modernbert": ("mean", ()),
    "xlm-roberta": ("cls", ("Normalize",)),  # BGE-M3
    "qwen2": ("lasttoken", ("Normalize",)),
    "qwen3": ("lasttoken", ("Normalize",)),  # Qwen3-Embedding
    "gemma3_text": ("mean", ("Wide", "Narrow", "Normalize")),  # EmbeddingGemma
    "nomic_bert": ("mean", ("Normalize",)),
    "eurobert": ("mean", ()),
}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("qwen3", "gemma3_text") else pytest.param(name, marks=pytest.mark.apart)
        for name in RELEASED
    ],
)
def test_encoders_of_today_as_they_are_released(tmp_path, name):
    modes, after = RELEASED[name]
    said = {"use_bidirectional_attention": True} if name == "gemma3_text" else None
    prompts = {"query": "query : ", "document": ""}
    folder = sentence(
        tmp_path / name,
        name,
        modes=modes,
        after=layers(*after),
        prompts=prompts,
        default_prompt_name="query",
        config=said,
    )
    encoder, _ = check(folder)
    assert encoder.pooling == modes


def layers(*names):
    """Modules by name, with random weights, for states of width 32."""
    torch.manual_seed(1)
    width, made = 32, []
    for name in names:
        if name == "Dense":
            made.append(modules.Dense(width, 12, activation_function=torch.nn.GELU()))
            width = 12
        elif name == "Residual":
            made.append(modules.Dense(width, 8, bias=False, use_residual=True))
            width = 8
        elif name in ("Wide", "Narrow"):  # as in EmbeddingGemma, without bias and activation
            sizes = (width, 48) if name == "Wide" else (width, 32)
            identity = torch.nn.Identity()
            made.append(modules.Dense(*sizes, bias=False, activation_function=identity))
            width = sizes[1]
        elif name == "Identity":
            made.append(modules.Dense(width, width, activation_function=torch.nn.Identity()))
        elif name == "LayerNorm":
            made.append(modules.LayerNorm(width))
            torch.nn.init.normal_(made[-1].norm.weight)
        else:
            made.append({"Normalize": modules.Normalize, "Dropout": modules.Dropout}[name]())
    return made


@pytest.mark.parametrize("mode", [*MODES, ("mean", "max"), ("lasttoken", "cls", "weightedmean")])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_pooling_of_every_family(tmp_path, name, mode):
    check(sentence(tmp_path / name, name, modes=mode))


@pytest.mark.parametrize(
    "names",
    [
        ("Normalize",),
        ("Dense",),
        ("Dense", "Normalize"),
        ("Residual",),
        ("LayerNorm", "Dropout"),
        ("Identity", "LayerNorm", "Dense", "Normalize"),
        ("Normalize", "Dense"),
    ],
)
def test_every_module_after_the_pooling(tmp_path, names):
    folder = sentence(tmp_path / "bert", modes=("mean", "max")[:1], after=layers(*names))
    encoder, found = check(folder)
    assert found.tokens.shape[2] == 32  # the states stay those of the transformer
    assert encoder.spec.text.normalized == (names[-1] == "Normalize")


@pytest.mark.parametrize(
    "setting",
    [
        {"prompts": {"query": "query : "}, "default_prompt_name": "query"},
        {"prompts": {"query": "query : "}},
        {"prompts": {"query": "query : "}, "default_prompt_name": "query", "include_prompt": False},
        {
            "prompts": {"a": "what : "},
            "default_prompt_name": "a",
            "include_prompt": False,
            "modes": ("cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens"),
        },
        {"truncate_dim": 5},
        {"transformer": {"max_seq_length": 6}},
        {"limit": None},
        {"transformer": {"do_lower_case": True}},
    ],
)
@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_every_setting(tmp_path, name, setting):
    check(sentence(tmp_path / name, name, **setting))


@pytest.mark.parametrize("said", [*OLD, "mean_tokens+max_tokens", ""])
def test_the_old_form_of_a_pooling(tmp_path, said):
    folder = sentence(tmp_path / "bert")
    flags = {f"pooling_mode_{name}": name in said.split("+") for name in OLD}
    old = {"word_embedding_dimension": 32, **flags}
    (folder / "1_Pooling/config.json").write_text(json.dumps(old))
    types = json.loads((folder / "modules.json").read_text())
    for entry in types:
        entry["type"] = "sentence_transformers.models." + entry["type"].rpartition(".")[2]
    (folder / "modules.json").write_text(json.dumps(types))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 7, "do_lower_case": True})
    )
    (folder / "config_sentence_transformers.json").unlink()
    check(folder)


def test_a_transformer_in_a_folder_of_its_own(tmp_path):
    folder = sentence(tmp_path / "bert", after=layers("Dense"))
    (folder / "0_Transformer").mkdir()
    for file in folder.glob("*.*"):
        if not file.name.startswith(("modules", "config_sentence")):
            shutil.move(file, folder / "0_Transformer" / file.name)
    types = json.loads((folder / "modules.json").read_text())
    types[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(types))
    check(folder)


def test_another_pooling_reads_the_transformer_alone(tmp_path):
    folder = sentence(tmp_path / "bert", modes="max", after=layers("Dense", "Normalize"))
    encoder = ours(folder, pooling="mean")
    with torch.no_grad():
        found = encoder.encode_text(*encoder.tokenize(QUESTIONS[:1]), BOTH)
    torch.testing.assert_close(found.pooled[0], found.tokens[0].mean(dim=0))
    assert encoder.spec.text.pooled == 32


def test_weights_and_settings_of_modules_are_part_of_the_encoder(tmp_path):
    folder = sentence(tmp_path / "bert", after=layers("Dense"))
    plain = ours(folder, pooling="mean").reference.sha256
    first = ours(folder).reference.sha256
    change(folder / "1_Pooling/config.json", pooling_mode="max")
    second = ours(folder).reference.sha256
    shutil.copy(
        sentence(tmp_path / "other", after=layers("Identity", "Dense")[1:])
        / "2_Dense/model.safetensors",
        folder / "2_Dense/model.safetensors",
    )
    third = ours(folder).reference.sha256
    assert len({plain, first, second, third}) == 4


REFUSED = [
    ("1_Pooling/config.json", {"pooling_mode": "attention"}, "attention"),
    ("1_Pooling/config.json", {"pooling_mode": ["mean", "sum"]}, "sum"),
    ("1_Pooling/config.json", {"pooling_mode_median_tokens": True}, "pooling_mode_median_tokens"),
    ("1_Pooling/config.json", {"embedding_dimension": 16}, "embedding_dimension"),
    ("2_Dense/config.json", {"activation_function": "os.system"}, "os.system"),
    ("2_Dense/config.json", {"activation_function": "torch.nn.Linear"}, "torch.nn.Linear"),
    ("2_Dense/config.json", {"in_features": 7}, "in_features"),
    ("2_Dense/config.json", {"gate": True}, "gate"),
    ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "fill-mask"),
    ("sentence_bert_config.json", {"stride": 3}, "stride"),
    (
        "sentence_bert_config.json",
        {"processing_kwargs": {"text": {"max_length": 3}}},
        "processing_kwargs",
    ),
    ("sentence_bert_config.json", {"tokenizer_args": {"padding_side": "left"}}, "padding_side"),
    ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "SparseEncoder"),
    ("config_sentence_transformers.json", {"default_prompt_name": "nobody"}, "nobody"),
    ("config_sentence_transformers.json", {"quantize": True}, "quantize"),
]


@pytest.mark.parametrize(("file", "said", "named"), REFUSED)
def test_what_is_not_understood_is_named(tmp_path, file, said, named):
    folder = sentence(tmp_path / "bert", after=layers("Dense"))
    change(folder / file, **said)
    with pytest.raises(VqazooError, match=named) as told:
        ours(folder)
    assert len(str(told.value).splitlines()) == 1
    ours(folder, pooling="mean")  # the way out that the message names


@pytest.mark.parametrize(
    "kind",
    [
        "WordEmbeddings",
        "CNN",
        "LSTM",
        "BoW",
        "CLIPModel",
        "WeightedLayerPooling",
        "WordWeights",
        "Router",
    ],
)
def test_a_module_that_is_not_built_is_named(tmp_path, kind):
    folder = sentence(tmp_path / "bert", after=layers("Normalize"))
    types = json.loads((folder / "modules.json").read_text())
    for place in (0, 2):
        broken = [dict(entry) for entry in types]
        broken[place]["type"] = f"sentence_transformers.models.{kind}"
        (folder / "modules.json").write_text(json.dumps(broken))
        with pytest.raises(IncompatibleError, match=kind):
            ours(folder)


def test_code_of_a_repository_and_paths_out_of_it_are_refused(tmp_path):
    folder = sentence(tmp_path / "bert", after=layers("Dense"))
    types = json.loads((folder / "modules.json").read_text())
    for key, value in (("type", "custom_st.Transformer"), ("path", "../elsewhere")):
        broken = [dict(entry) for entry in types]
        broken[2][key] = value
        (folder / "modules.json").write_text(json.dumps(broken))
        with pytest.raises(VqazooError, match=value.replace(".", r"\.")):
            ours(folder)


def test_missing_and_damaged_weights_of_a_module_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = sentence(tmp_path / "bert", after=layers("Dense"))
    file = folder / "2_Dense/model.safetensors"
    tensors = load_file(file)
    save_file({"linear.weight": tensors["linear.weight"]}, file)
    with pytest.raises(WeightsError, match=r"Dense.*linear\.bias"):
        ours(folder)
    file.unlink()
    with pytest.raises(WeightsError, match=r"2_Dense.*only safetensors is read"):
        ours(folder)


def test_a_checkpoint_of_before_keeps_its_vectors():
    from vqazoo.config import Block, fill_block

    block = Block("hf-text:x/y", {"pooling": "auto", "normalize": False}, 1)
    assert fill_block("encoder", block).args["modules"] is False
    asked = Block("hf-text:x/y", {"pooling": "auto", "normalize": False})
    assert fill_block("encoder", asked).args["modules"] is True


# ---- folders without modules.json -----------------------------------------------------------

SAYS = {  # a family, what its config says, and how it is pooled
    "xlm-roberta": ({}, "cls"),
    "modernbert": ({"classifier_pooling": "mean"}, "mean"),
    "eurobert": ({"classifier_pooling": "mean"}, "mean"),
    "nomic_bert": ({}, "mean"),
    "qwen2": ({}, "last"),
    "qwen3": ({}, "last"),
    "gemma3_text": ({"use_bidirectional_attention": True}, "mean"),
}
OTHERWISE = {
    "modernbert": ({"classifier_pooling": "cls"}, "cls"),
    "eurobert": ({"classifier_pooling": "bos"}, "cls"),
    "gemma3_text": ({"use_bidirectional_attention": False}, "last"),
}


@pytest.mark.parametrize(
    ("name", "said", "mode"),
    [(name, *rest) for table in (SAYS, OTHERWISE) for name, rest in table.items()],
)
def test_a_plain_folder_is_pooled_as_its_config_says(tmp_path, name, said, mode):
    from transformers import AutoModel

    folder = family(tmp_path / name, name, said=said)
    encoder = ours(folder)
    assert encoder.pooling == mode
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        found = encoder.encode_text(*encoder.tokenize(QUESTIONS), BOTH)
        for row, question in enumerate(QUESTIONS):
            ids, mask = encoder.tokenize([question])
            states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state[0]
            vector = {"cls": states[0], "last": states[-1], "mean": states.mean(dim=0)}[mode]
            torch.testing.assert_close(found.pooled[row], vector, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen3", "eurobert", "gemma3_text"])
def test_a_plain_folder_is_pooled_as_the_library_would(tmp_path, name):
    folder = family(tmp_path / name, name, said=SAYS[name][0])
    if name == "qwen3":  # as published; of a bare Qwen3Model the library takes the mean
        change(folder / "config.json", architectures=["Qwen3ForCausalLM"])
    encoder = ours(folder)
    with torch.no_grad():
        found = encoder.encode_text(*encoder.tokenize(QUESTIONS), BOTH)
    torch.testing.assert_close(found.pooled, theirs(folder), rtol=1e-5, atol=1e-5)
