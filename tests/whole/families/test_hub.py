"""Published checkpoints by the names people give, from the stand-in Hub."""

from __future__ import annotations

import json
import re

import pytest

import vqazoo
from tests.whole.families.published import PUBLISHED, UNREAD, changed, without_weights
from tests.whole.hub.models import contents, process, refused, said, told
from vqazoo.errors import CheckpointError, VqazooError

QUESTION = "what is this"
REPOS = list(PUBLISHED)
ONE_OF_EACH_FAMILY = (
    "Salesforce/blip-vqa-base",
    "Salesforce/blip2-opt-2.7b",
    "microsoft/git-base-vqav2",
    "dandelin/vilt-b32-finetuned-vqa",
)
SMALLEST = "dandelin/vilt-b32-finetuned-vqa"
LOAD = f"""
import sys, vqazoo
for ref in sys.argv[2:]:
    answer = vqazoo.load(ref).answer(sys.argv[1], {QUESTION!r})
    print(repr((answer.text, round(answer.score, 5))))
"""


@pytest.fixture
def served(hub, published) -> dict[str, str]:
    """The commit of each repository on the stand-in."""
    return {repo: hub.add_repo(repo, contents(at) | UNREAD) for repo, at in published.items()}


@pytest.mark.proof
def test_a_fresh_process_answers_from_the_hub_as_from_the_folder(
    hub, served, published, picture, tmp_path
):
    expected = []
    for repo in ONE_OF_EACH_FAMILY:
        answer = vqazoo.load(f"dir:{published[repo]}").answer(picture, QUESTION)
        expected.append(repr((answer.text, round(answer.score, 5))))
    refs = [f"hub:{repo}" for repo in ONE_OF_EACH_FAMILY]
    assert said(process(hub, tmp_path / "home", LOAD, picture, *refs)).splitlines() == expected
    fetched = [request.path for request in hub.seen("GET")]
    assert not [path for path in fetched if re.search("|".join(map(re.escape, UNREAD)), path)]
    assert any("model.safetensors" in path for path in fetched)


@pytest.mark.parametrize("repo", REPOS)
def test_a_commit_that_is_cached_is_loaded_without_a_request(hub, served, repo, picture):
    ref = f"hub:{repo}@{served[repo]}"

    def answer():
        model = vqazoo.load(ref)
        captions = "captioning" in repo  # it reads no question
        return model.caption(picture) if captions else model.answer(picture, QUESTION)

    before = answer()
    hub.commit(repo, {"config.json": b"{}"}, "main moves on")
    hub.requests.clear()
    assert answer() == before
    # 1.5 asks for the description of a snapshot that it has.
    described = f"/api/models/{repo}/revision/{served[repo]}"
    assert {request.path for request in hub.requests} <= {described}


@pytest.mark.parametrize("repo", REPOS)
def test_each_is_recognised_and_names_its_commit(hub, served, repo):
    model = vqazoo.load(f"hub:{repo}")
    place = f"{repo}@{served[repo]}"
    assert model.config.image_encoder.type.partition(":")[2] == place
    for tower in model.towers.values():
        assert (tower.reference.source, tower.reference.revision) == (repo, served[repo])
    assert not model.training


def test_the_command_line_answers_too(hub, served, picture, capsys):
    said = told(["ask", f"hub:{SMALLEST}", picture, QUESTION], capsys)
    answer = vqazoo.load(f"hub:{SMALLEST}").answer(picture, QUESTION)
    assert answer.text in said


# ---- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["perceiver", "blip_2", ["vilt"], None, 5])
def test_a_checkpoint_of_another_family_is_told_which_ones_load(hub, model_type, picture, capsys):
    config = {"model_type": model_type, "architectures": ["LlavaForConditionalGeneration"]}
    hub.add_repo("llava-hf/llava", {"config.json": json.dumps(config).encode()})
    error = refused(["ask", "hub:llava-hf/llava", picture, QUESTION], capsys)
    assert f"is a {model_type!r} checkpoint" in error
    for repo in ONE_OF_EACH_FAMILY:
        assert f"hub:{repo}" in error
    assert not [r for r in hub.seen("GET") if "config.json" not in r.path and "api" not in r.path]


@pytest.mark.parametrize("repo", REPOS)
def test_pickled_weights_are_refused_with_the_way_out(hub, published, repo, picture, capsys):
    hub.add_repo(repo, without_weights(published[repo]))
    error = refused(["ask", f"hub:{repo}", picture, QUESTION], capsys)
    assert "only safetensors is read" in error
    assert f"vqazoo convert {repo} --out FOLDER" in error
    assert not hub.seen("GET", "pytorch_model")


@pytest.mark.parametrize("repo", REPOS)
def test_a_repository_that_is_gone_is_told(hub, repo, picture, capsys):
    error = refused(["ask", f"hub:{repo}", picture, QUESTION], capsys)
    assert f"no Hub repository '{repo}'" in error or "check the name" in error


# ---- damaged: what any of them may suffer ----------------------------------------------------


def cut(files: dict[str, bytes]) -> None:
    name = max((n for n in files if n.endswith(".safetensors")), key=lambda n: len(files[n]))
    files[name] = files[name][: len(files[name]) // 2]


def scramble(files: dict[str, bytes]) -> None:
    for name in [name for name in files if name.endswith(".safetensors")]:
        files[name] = b"not tensors at all" * 10


def lose_tokenizer(files: dict[str, bytes]) -> None:
    for name in [n for n in files if re.match("vocab|tokenizer|merges|special|spiece|added", n)]:
        del files[name]


def lose_preprocessing(files: dict[str, bytes]) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        files.pop(name, None)


def misshape(files: dict[str, bytes]) -> None:
    """Another width in the config than in the weights."""
    config = json.loads(files["config.json"])
    for part in (config, *(v for v in config.values() if isinstance(v, dict))):
        for key in ("intermediate_size", "ffn_dim", "d_ff"):
            if isinstance(part.get(key), int):
                part[key] += 8
    files["config.json"] = json.dumps(config).encode()


def other_task(files: dict[str, bytes]) -> None:
    files["config.json"] = changed(files["config.json"], architectures=["SomethingElse"])


DAMAGES = {
    cut: "cannot be read|get them again|get it again",
    scramble: "cannot be read|get them again|get it again",
    lose_tokenizer: "tokenizer",
    lose_preprocessing: "does not say how pictures are prepared",
    misshape: "shape|do not fit",
    other_task: "SomethingElse",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("repo", REPOS)
def test_a_damaged_checkpoint_is_told_in_one_sentence(published, repo, damage, tmp_path):
    files = contents(published[repo])
    damage(files)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VqazooError, match=DAMAGES[damage]) as caught:
        vqazoo.load(f"dir:{tmp_path}")
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 900
    assert str(tmp_path) in told or tmp_path.name in told


NUMBERS = ("hidden_size", "d_model", "num_hidden_layers", "num_layers", "vocab_size")


@pytest.mark.parametrize("value", [10**7, "many"], ids=str)
@pytest.mark.parametrize("repo", ONE_OF_EACH_FAMILY)
def test_numbers_that_the_weights_do_not_justify_are_told(published, repo, value, tmp_path):
    """One after the other, in every part of the config."""
    for name, content in contents(published[repo]).items():
        (tmp_path / name).write_bytes(content)
    config = json.loads((tmp_path / "config.json").read_text())
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part, key in [(part, key) for part in parts for key in NUMBERS if key in part]:
        if (part.get("model_type"), key) == ("blip_2_qformer", "vocab_size"):
            continue  # its text half is left out
        kept, part[key] = part[key], value
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(VqazooError):
            vqazoo.load(f"dir:{tmp_path}")
        part[key] = kept


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"model_type"', b"\xff\xfe"])
def test_a_config_that_says_nothing_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        vqazoo.load(f"dir:{tmp_path}")
