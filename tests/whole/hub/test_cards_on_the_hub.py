"""Model cards on the Hub: whatever people wrote, there or here, survives the next push."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import vqazoo
from tests.whole.hub.models import NAME, REPO, contents, refused
from vqazoo.errors import CheckpointError, HubError
from vqazoo.hub.requests import HubRef
from vqazoo.publish.card_merge import merge_cards, merge_fronts

THEIRS = "\n## Thanks\n\nTo the people who drew the pictures.\n"
MINE = "\n## Notes\n\nDo not use it near water.\n"


def card(hub, revision: str = "main") -> str:
    return hub.files(REPO, revision)["README.md"].decode()


def edit_there(hub, text: str = THEIRS, old: str = "", new: str = "") -> str:
    """Edit the card on the Hub's page; the commit."""
    changed = card(hub).replace(old, new, 1) if old else card(hub) + text
    return hub.commit(REPO, {"README.md": changed.encode()}, "edited on the page")


def edit_here(folder: Path, text: str = MINE) -> None:
    file = folder / "README.md"
    file.write_text(file.read_text() + text)


def new_metrics(folder: Path, value: float = 0.123) -> None:
    """What makes the generated part of the card another one."""
    file = folder / "metrics.json"
    metrics = json.loads(file.read_text())
    metrics[0]["value"] = value
    file.write_text(json.dumps(metrics))


def test_the_card_is_one_that_the_hub_understands(hub, ada, folder):
    vqazoo.push(folder, REPO)
    data = ModelCard(card(hub)).data
    assert data.library_name == "vqazoo"
    assert data.pipeline_tag == "visual-question-answering"
    assert data.model_name == NAME
    assert {result.metric_type for result in data.eval_results} >= {"accuracy"}


def test_a_folder_without_a_card_gets_one(hub, ada, folder):
    (folder / "README.md").unlink()
    vqazoo.push(folder, REPO)
    assert card(hub).startswith("---\n")
    assert f"# {NAME}" in card(hub)


def test_what_was_written_on_the_hub_survives_and_comes_here(hub, ada, folder):
    vqazoo.push(folder, REPO)
    edit_there(hub)
    new_metrics(folder)
    vqazoo.push(folder, REPO)
    assert THEIRS.strip() in card(hub)
    assert "12.3" in card(hub)
    assert (folder / "README.md").read_text() == card(hub)


def test_what_was_written_here_survives(hub, ada, folder):
    vqazoo.push(folder, REPO)
    edit_here(folder)
    new_metrics(folder)
    vqazoo.push(folder, REPO)
    assert MINE.strip() in card(hub)
    assert "12.3" in card(hub)


def test_what_was_written_before_the_first_push_survives(hub, ada, folder):
    edit_here(folder)
    vqazoo.push(folder, REPO)
    assert MINE.strip() in card(hub)


def test_edits_on_the_hub_and_then_here_both_survive(hub, ada, folder):
    vqazoo.push(folder, REPO)
    edit_there(hub)
    vqazoo.push(folder, REPO)
    edit_here(folder)
    vqazoo.push(folder, REPO)
    assert THEIRS.strip() in card(hub)
    assert MINE.strip() in card(hub)


def test_edits_on_the_hub_after_edits_that_were_pushed_survive(hub, ada, folder):
    edit_here(folder)
    vqazoo.push(folder, REPO)
    edit_there(hub)
    vqazoo.push(folder, REPO)
    assert MINE.strip() in card(hub)
    assert THEIRS.strip() in card(hub)


def test_a_folder_trained_anew_keeps_what_is_on_the_hub(hub, ada, folder, trained, tmp_path):
    import shutil

    vqazoo.push(folder, REPO)
    edit_there(hub)
    shutil.copytree(trained, tmp_path / "again")
    new_metrics(tmp_path / "again")
    vqazoo.push(tmp_path / "again", REPO)
    assert THEIRS.strip() in card(hub)
    assert "12.3" in card(hub)


def test_different_edits_on_both_sides_are_left_to_the_user(hub, ada, folder, tmp_path, capsys):
    vqazoo.push(folder, REPO)
    head = edit_there(hub)
    edit_here(folder)
    before = contents(folder)
    error = refused(["push", folder, REPO], capsys)
    assert "edited on the Hub and, differently, in this folder" in error
    assert hub.repositories[REPO].resolve("main").sha == head
    assert contents(folder) == before
    # What the sentence says to do:
    other = vqazoo.pull(f"hub:{REPO}", tmp_path / "other")
    (other / "README.md").write_text((other / "README.md").read_text() + MINE)
    for name in ("README.md", "hub.json"):
        (folder / name).write_bytes((other / name).read_bytes())
    vqazoo.push(folder, REPO)
    assert THEIRS.strip() in card(hub)
    assert MINE.strip() in card(hub)


def test_the_same_edit_on_both_sides_is_none_to_settle(hub, ada, folder):
    vqazoo.push(folder, REPO)
    edit_there(hub)
    edit_here(folder, THEIRS)
    vqazoo.push(folder, REPO)
    assert card(hub).count(THEIRS.strip()) == 1


def test_a_folder_that_was_pulled_and_edited_wins(hub, ada, folder, tmp_path):
    vqazoo.push(folder, REPO)
    edit_there(hub)
    pulled = vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled")
    file = pulled / "README.md"
    file.write_text(file.read_text().replace("To the people who drew", "To all who painted"))
    vqazoo.push(pulled, REPO)
    assert "To all who painted" in card(hub)
    assert "To the people who drew" not in card(hub)


def test_front_matter_of_both_sides_is_kept(hub, ada, folder):
    vqazoo.push(folder, REPO)
    edit_there(hub, old="tags:\n", new="license: cc-by-4.0\nthumbnail: cat.png\ntags:\n")
    edit_there(hub, old="tags:\n", new="tags:\n- theirs\n")
    file = folder / "README.md"
    text = file.read_text().replace("tags:\n", "tags:\n- mine\n")
    file.write_text(text.replace("tags:\n", "extra: 1\ntags:\n", 1))
    vqazoo.push(folder, REPO)
    data = ModelCard(card(hub)).data.to_dict()
    assert (data["license"], data["thumbnail"], data["extra"]) == ("cc-by-4.0", "cat.png", 1)
    assert {"theirs", "mine", "mlp"} <= set(data["tags"])
    assert vqazoo.push(folder, REPO).commit == hub.repositories[REPO].resolve("main").sha


def test_a_card_made_on_the_page_before_the_first_push_is_kept(hub, ada, folder):
    hub.add_repo(REPO, {"README.md": b"---\nlicense: apache-2.0\n---\n"})
    vqazoo.push(folder, REPO)
    assert ModelCard(card(hub)).data.license == "apache-2.0"
    assert "## Intended use" in card(hub)
    other = "ada/other"
    hub.add_repo(other, {"README.md": b"---\nlicense: mit\n---\n# Mine\n\nOf my own words.\n"})
    vqazoo.push(folder, other)
    assert "Of my own words." in hub.files(other)["README.md"].decode()


def test_a_card_on_the_hub_that_nobody_can_read_is_told(hub, ada, folder, capsys):
    hub.add_repo(REPO, {"README.md": b"---\na: [\n---\n# Mine\n"})
    error = refused(["push", folder, REPO], capsys)
    assert f"On the Hub, in '{REPO}': The front matter" in error


def test_a_card_here_that_nobody_can_read_is_told(hub, ada, folder, capsys):
    (folder / "README.md").write_bytes(b"# caf\xe9\n")
    assert "is not UTF-8 text" in refused(["push", folder, REPO], capsys)
    (folder / "README.md").write_text("---\na: [\n---\n# Mine\n")
    assert "The front matter" in refused(["push", folder, REPO], capsys)
    assert not [request for request in hub.requests if "/commit/" in request.path]


def test_a_pull_request_leaves_the_card_here_as_it_is(hub, ada, folder):
    hub.add_repo("lab/model", {"README.md": b"# Theirs\n\nWords.\n"})
    before = (folder / "README.md").read_bytes()
    vqazoo.push(folder, "lab/model", create_pr=True)
    assert (folder / "README.md").read_bytes() == before
    assert b"Words." in hub.files("lab/model", "refs/pr/1")["README.md"]


# ---- merging alone --------------------------------------------------------------------------

METRICS = "<!-- vqazoo:metrics -->\n\n2\n\n<!-- /vqazoo:metrics -->"
FRESH = f"---\nlicense: mit\n---\n\n# m\n\nWords.\n\n{METRICS}\n"
REF = HubRef(REPO)


def edited(words: str) -> str:
    return FRESH.replace("Words.", words).replace("\n2\n", "\n1\n")


@pytest.mark.parametrize(
    ("local", "remote", "base", "wanted"),
    [
        ("Words.", None, None, "Words."),
        ("Words.", "Words.", None, "Words."),
        ("Mine.", "Words.", None, "Mine."),
        ("Words.", "Theirs.", None, "Theirs."),
        ("Mine.", "Theirs.", "Theirs.", "Mine."),
        ("Mine.", "Theirs.", "Mine.", "Theirs."),
        ("Words.", "Theirs.", "Theirs.", "Words."),
        ("Same.", "Same.", "Old.", "Same."),
        ("Mine.", "Theirs.", None, None),
        ("Mine.", "Theirs.", "Old.", None),
    ],
)
def test_one_edited_side_wins_and_of_two_neither(local, remote, base, wanted):
    sides = [None if one is None else edited(one) for one in (local, remote, base)]
    if wanted is None:
        with pytest.raises(HubError, match="differently"):
            merge_cards(*sides, FRESH, REF)
    else:
        assert merge_cards(*sides, FRESH, REF) == edited(wanted).replace("\n1\n", "\n2\n")


def test_a_local_card_that_cannot_be_read_is_ours_to_tell():
    with pytest.raises(CheckpointError, match="front matter"):
        merge_cards("---\na: [\n---\n", FRESH, None, FRESH, REF)


@pytest.mark.parametrize(
    ("local", "remote", "base", "wanted"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}),
        ({"a": 3}, {"a": 1}, {"a": 1}, {"a": 3}),
        ({"a": 3}, {"a": 2}, {"a": 1}, {"a": 3}),
        ({}, {"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {}, {"a": 1}, {}),
        ({"tags": ["x"]}, {"tags": ["x", "y"]}, {"tags": ["x"]}, {"tags": ["x", "y"]}),
        ({"tags": ["x"]}, {"tags": ["x", "y"]}, {"tags": ["x", "y"]}, {"tags": ["x"]}),
        ({"tags": "x"}, {"tags": ["y"]}, {}, {"tags": ["x", "y"]}),
    ],
)
def test_front_matter_is_merged_key_by_key(local, remote, base, wanted):
    assert merge_fronts(local, remote, base) == wanted
