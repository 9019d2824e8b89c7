"""The model card says what the files say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tests.support.made_cards import (
    ENVIRONMENT,
    LOG,
    METRICS,
    NAME,
    RECIPE,
    REFERENCE,
    SECTIONS,
    contents,
    metric,
    section,
)
from vqazoo.card import card_files, refresh, render_card, write_card
from vqazoo.card.prose import sections
from vqazoo.catalogue import PACKAGED, catalogue, entries
from vqazoo.cli import run
from vqazoo.config import run_config
from vqazoo.data.answers import AnswerList
from vqazoo.errors import CheckpointError
from vqazoo.files.places import public
from vqazoo.files.writing import json_bytes

SHIPPED = [name for name, entry in entries().items() if entry.weights == PACKAGED]


@pytest.fixture
def fresh() -> str:
    return render_card(contents(), NAME)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder's checkpoint."""
    best = tmp_path / "a-run" / "best"
    best.mkdir(parents=True)
    for name, content in contents().items():
        (best / name).write_bytes(content)
    return best


# ---- what it says -------------------------------------------------------------------------------


def test_the_front_matter_is_what_the_hub_reads(fresh: str) -> None:
    card = ModelCard(fresh)
    data = card.data.to_dict()
    assert data["library_name"] == "vqazoo"
    assert data["pipeline_tag"] == "visual-question-answering"
    assert "datasets" not in data  # easy-vqa is our name, not the Hub's
    assert data["license"] == "mit"
    assert data["tags"] == ["lstm", "concat"]
    assert "base_model" not in data  # tiny-clip is on no Hub
    assert card.data.model_name == NAME
    said = [(r.dataset_split, r.metric_type, r.metric_value) for r in card.data.eval_results]
    assert sorted(said) == sorted((m.split, m.name, round(100 * m.value, 2)) for m in METRICS)


@pytest.mark.parametrize(
    ("reference", "models", "license"),
    [
        (
            {"kind": "hub", "source": "openai/clip", "revision": "a" * 40},
            ["openai/clip"],
            "see its repository",
        ),
        ({"kind": "hub", "source": "timm/vit", "license": "cc-by-4.0"}, ["timm/vit"], "cc-by-4.0"),
        ({"kind": "file", "source": "/home/me/clip.safetensors"}, [], "not stated"),
        (None, [], "none: no pretrained weights"),
    ],
)
def test_encoders_are_named_with_their_licence(
    reference: dict[str, str] | None, models: list[str], license: str
) -> None:
    files = contents()
    checkpoint = json.loads(files["config.json"])
    checkpoint["towers"]["both"]["reference"] = reference
    for side in ("image_encoder", "text_encoder"):
        checkpoint[side] = {"type": "open-clip:ViT-B-32@openai", "args": {}, "version": 1}
    card = render_card({**files, "config.json": json_bytes(checkpoint)}, NAME)
    assert ModelCard(card).data.to_dict().get("base_model", []) == models
    assert f"| {license} |" in section(card, "parts")
    assert "/home/me" not in card


def test_packaged_encoders_name_their_origin_on_the_hub() -> None:
    recipe = {
        **{k: v for k, v in RECIPE.items() if k != "encoder"},
        "image_encoder": "efficientnet-lite0",
        "text_encoder": "minilm",
        "head": "mlp",
    }
    files = contents(recipe)
    checkpoint = json.loads(files["config.json"])
    checkpoint["towers"] = {
        side: {"reference": {**REFERENCE, "license": ""}} for side in ("image", "text")
    }
    data = ModelCard(render_card({**files, "config.json": json_bytes(checkpoint)}, NAME)).data
    assert data.to_dict()["base_model"] == [
        "timm/tf_efficientnet_lite0.in1k",
        "sentence-transformers/all-MiniLM-L6-v2",
    ]


def test_every_metric_stands_there_once_with_its_signature(fresh: str) -> None:
    text = section(fresh, "metrics")
    for one in METRICS:
        escaped = one.signature.replace("|", "\\|")
        assert text.count(f"`{escaped}`") == 1, one.name
    assert "| 81.25% | 75.00% to 87.50% | 200 | test |" in text
    assert text.index("| accuracy | 81.25%") < text.index("| accuracy | 50.00%")  # test first
    assert text.index("known-answer-share |") < text.index("<details>") < text.index("bleu-1")


def test_an_interval_says_what_it_was_drawn_over() -> None:
    over = [replace(m, interval_method="bootstrap over pictures") for m in METRICS if m.interval]
    card = render_card(contents(metrics=[*over, *(m for m in METRICS if not m.interval)]), NAME)
    assert "(95% interval 75.00% to 87.50%, bootstrap over pictures)" in section(card, "summary")


def test_numbers_stand_where_they_belong(fresh: str) -> None:
    assert (
        "On 200 questions of the split test it reaches 81.25% accuracy (95% interval 75.00% to "
        "87.50%); always giving the most frequent training answer scores 30.00%."
    ) in section(fresh, "summary")
    assert "| shape | 25.00% | 80 |" in section(fresh, "types")
    assert "answer-count" not in section(fresh, "types")
    failures = section(fresh, "failures")
    assert "| never, or it is not in the answer list | 0.00% | 10 |" in failures
    assert "| 10 to 99 times | 43.75% | 190 |" in failures
    assert "The right answer of 5.00% of the questions (split test)" in failures
    abstention = section(fresh, "abstention")
    assert "12.50% of the questions at a risk of 1%, 62.50% of the questions at a risk of 5%" in (
        abstention
    )
    assert "effective-reliability-100-all | -450.00%" in abstention
    assert "no answer was not measured" in abstention


def test_the_run_is_told_as_recorded(fresh: str) -> None:
    data = section(fresh, "data")
    assert "| train | 1,100 | to learn from |" in data
    assert "| (held out) | 55 | to choose the best epoch: 5% of the pictures of train |" in data
    assert "| test | 200 | scored |" in data
    assert "Licence: MIT." in data
    assert "`1234abcd`" in data
    assert "The most frequent is `red` (1,000 questions)." in data
    training = section(fresh, "training")
    assert "abacus, 3 CPU cores (device cpu)" in training
    assert "60 seconds of training in 2 epochs, and 5 minutes of encoding" in training
    assert "Cost: 0.1 machine hours. Money was not recorded." in training
    assert "Energy and carbon were not measured." in training
    assert "by epoch: training loss falls from 1 to 0.5; 2 epochs](loss.png)" in training
    assert "learning rate 0.5, batches of 32" in training
    assert "250 of 1,000 parameters were trained. The encoders stayed frozen." in fresh
    assert "Pictures are 64 x 48 pixels" in fresh
    assert "vqazoo 0.1.0 of commit `c0ffee`, with local changes" in section(fresh, "reproduce")
    assert f"@misc{{{NAME},\n" in fresh
    assert "year = {2031}" in fresh


def test_the_origin_is_told_in_three_parts(fresh: str) -> None:
    origin = section(fresh, "origin")
    assert "follows a paper | with a bar." in origin
    assert "| `training.epochs` | 25 (section 4) |" in origin
    assert "| `seed` | it names none |" in origin
    assert "- two epochs, not 25" in origin
    plain_recipe = {key: value for key, value in RECIPE.items() if key != "origin"}
    assert "names no publication" in section(render_card(contents(plain_recipe), NAME), "origin")


def test_how_to_run_depends_on_the_model(fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'vqazoo.load("dir:PATH-OF-THIS-FOLDER")' in fresh
    assert "what color is the shape?" in section(fresh, "run")
    assert "vqazoo train --config recipe.toml --out RUN\n" in section(fresh, "reproduce")
    assert "developers" not in fresh  # whoever trained it is not known
    monkeypatch.setattr("vqazoo.card.list_models", lambda: [NAME])
    listed = render_card(contents(), NAME)
    assert f'vqazoo.load("{NAME}")' in listed
    assert f"vqazoo recipe run {NAME}\n" in section(listed, "reproduce")
    vizwiz = render_card(contents({**RECIPE, "data": "vizwiz"}), "mine")
    assert "--data-root DIR" in section(vizwiz, "reproduce")
    assert "what color" not in vizwiz
    table = render_card(contents({**RECIPE, "data": {"type": "table"}}), "mine")
    assert "what is in this picture?" in table
    assert "datasets" not in ModelCard(table).data.to_dict()
    assert "Licence: not stated." in table


def test_a_question_only_model_is_compared() -> None:
    blind = metric("question-only-accuracy", 0.4375, end="|fusion:question-only")
    card = render_card(contents(metrics=[*METRICS, blind]), NAME)
    text = section(card, "failures")
    assert "it reaches 43.75% accuracy instead of 81.25% (split test)" in text
    assert "fusion:question-only" in text
    assert "| question-only-accuracy | 43.75% |" in section(card, "metrics")
    assert "was not measured: no question-only model" in render_card(contents(), NAME)


def test_what_was_not_recorded_is_said_and_not_made_up() -> None:
    bare = contents(
        metrics_json=None,
        environment_json=None,
        answers_json=None,
        log_jsonl=None,
        loss_png=None,
        recipe_toml=None,
    )
    assert set(bare) == {"config.json"}
    card = render_card(bare, "bare")
    assert sections(card) == SECTIONS
    for told in (
        "It was not measured yet",
        "Nothing was measured yet",
        "nothing speaks for such use",
        "What it was trained on was not recorded",
        "Command and settings: not recorded",
        "Hardware: not recorded",
        "Time: not recorded",
        "Cost: not recorded",
        "Versions: not recorded",
        "it cannot be repeated",
        "None recorded",
    ):
        assert told in card
    assert not re.search(r"\d%", card)
    data = ModelCard(card).data
    assert data.eval_results is None
    assert data.model_name == "bare"


def test_folders_of_a_machine_do_not_reach_the_card() -> None:
    recipe = {**RECIPE, "data": {"type": "hf:/home/me/shapes"}}
    measured = [metric("accuracy", 0.5, data="hf:/home/me/shapes")]
    card = render_card(contents(recipe, measured), NAME)
    assert "/home/me" not in card
    assert "`hf:shapes`" in card
    assert "datasets" not in ModelCard(card).data.to_dict()
    card = render_card(contents({**RECIPE, "data": {"type": "hf:me/shapes:small"}}, []), NAME)
    assert ModelCard(card).data.to_dict()["datasets"] == ["me/shapes"]


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("easy-vqa", "easy-vqa"),
        ("hf:me/shapes", "hf:me/shapes"),
        ("hf:/home/me/shapes/", "hf:shapes"),
        ("hf:~/shapes", "hf:shapes"),
        ("hf-text:../models/bert", "hf-text:bert"),
        ("timm:vit@/a/b.safetensors", "timm:vit@b.safetensors"),
        (r"hf:C:\Users\me\shapes", "hf:shapes"),
        ("open-clip:ViT-B-32@openai", "open-clip:ViT-B-32@openai"),
    ],
)
def test_references_are_shown_without_folders(reference: str, shown: str) -> None:
    assert public(reference) == shown


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config_json": None}, "there is no config.json"),
        ({"config_json": b"[]"}, "config.json is not as"),
        ({"config_json": b'{"towers": {"both": {}}}'}, "config.json is not as"),
        ({"recipe_toml": b"seed = "}, "recipe.toml is not as"),
        ({"recipe_toml": b"sead = 1"}, "recipe.toml is not as"),
        ({"metrics_json": b'[{"name": "accuracy"}]'}, "metrics.json is not as"),
        ({"environment_json": b"{"}, "environment.json is not as"),
        ({"log_jsonl": b"{}\n"}, "log.jsonl is not as"),
        ({"answers_json": b"[]"}, "answers.json is not an answer list"),
        ({"answers_json": b"[" * 100_000}, "answers.json is not an answer list"),
        ({"config_json": b'{"preprocess": {"mode": ["crop"]}}'}, "a mode was expected"),
    ],
)
def test_a_broken_file_is_one_sentence(changes: dict[str, bytes | None], told: str) -> None:
    with pytest.raises(CheckpointError, match=told) as caught:
        render_card(contents(**changes), NAME)
    assert "\n" not in str(caught.value)


# ---- folders and the command --------------------------------------------------------------------


def test_the_name_is_the_recipes_else_the_runs(folder: Path) -> None:
    assert write_card(folder).name == NAME
    assert f"\n# {NAME}\n" in (folder / "README.md").read_text()
    assert write_card(folder, "given").name == "given"
    for name, content in contents({**RECIPE, "name": ""}).items():
        (folder / name).write_bytes(content)
    assert write_card(folder).name == "a-run"


def test_the_log_and_curve_of_the_run_come_along(folder: Path) -> None:
    around = folder.parent
    (around / "log.jsonl").write_text(json.dumps({**LOG[0], "seconds": 1.5}) + "\n")
    (around / "loss.png").write_bytes(b"curve")
    write_card(folder)
    assert (folder / "loss.png").read_bytes() == b""  # no recipe there: another folder
    (around / "recipe.toml").write_text("")
    write_card(folder)
    assert (folder / "loss.png").read_bytes() == b"curve"
    assert (folder / "log.jsonl").read_bytes() == (around / "log.jsonl").read_bytes()
    assert "1.5 seconds of training in 1 epoch" in (folder / "README.md").read_text()


def test_refresh_adds_metrics_and_pictures_and_keeps_prose(folder: Path, tmp_path: Path) -> None:
    write_card(folder)
    card = folder / "README.md"
    card.write_text(card.read_text().replace("Research, teaching", "Teaching"))
    results = tmp_path / "results"
    results.mkdir()
    (results / "answers.png").write_bytes(b"grid")
    (results / "other.png").write_bytes(b"other")
    refresh(folder, [metric("accuracy", 0.25), metric("wups-0.0", 0.5)], results)
    saved = {(m["split"], m["name"]): m for m in json.loads((folder / "metrics.json").read_text())}
    assert len(saved) == len(METRICS) + 1
    assert saved["test", "accuracy"]["value"] == 0.25
    assert saved["validation", "accuracy"]["value"] == 0.5
    text = card.read_text()
    said = {
        (r.dataset_split, r.metric_type): r.metric_value for r in ModelCard(text).data.eval_results
    }
    assert said == {key: round(100 * m["value"], 2) for key, m in saved.items()}
    assert "Teaching and baselines" in text
    assert "(answers.png)" in section(text, "examples")
    assert (folder / "answers.png").read_bytes() == b"grid"
    assert not (folder / "other.png").exists()
    refresh(folder, [metric("accuracy", 0.5)])
    assert "(answers.png)" in card.read_text()


def test_nothing_is_written_if_the_card_cannot_be_made(folder: Path) -> None:
    write_card(folder)
    (folder / "recipe.toml").write_text("sead = 1")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(CheckpointError, match=r"recipe\.toml is not as"):
        refresh(folder, [metric("accuracy", 0.25)])
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_command_tells_what_it_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["card", str(folder)]) == 0
    told = capsys.readouterr().out
    assert f"of the model '{NAME}'" in told
    assert f"Generated: {', '.join(SECTIONS)}." in told
    assert "Kept" not in told
    card = folder / "README.md"
    text = card.read_text().replace("Research, teaching", "Teaching")
    card.write_text(text.replace(section(text, "cite"), "").replace("<!-- vqazoo:run -->", "+"))
    assert run(["card", str(folder), "--name", "x"]) == 0
    shown = capsys.readouterr()
    assert "of the model 'x'" in shown.out
    assert "as you deleted them: run, cite." in shown.out
    assert "Kept: the text around them" in shown.out
    assert "the mark <!-- /vqazoo:run --> has no partner" in shown.err
    card.write_text("Mine.\n")
    assert run(["card", str(folder)]) == 0
    assert "The card had no marks of vqazoo: all of it is kept" in capsys.readouterr().out
    assert run(["card", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["edited"], document["unmarked"]) == (NAME, True, False)


def test_mistakes_are_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(place: Path) -> str:
        assert run(["card", str(place)]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        return told.err

    assert "name the folder that holds it" in error(folder.parent.parent)
    (folder / "README.md").write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in error(folder)
    (folder / "README.md").unlink()
    (folder / "recipe.toml").write_text("seed = ")
    assert "recipe.toml' is not valid TOML" in error(folder)


def test_no_card_command_imports_torch(folder: Path) -> None:
    for arguments in (["card", str(folder)], ["info", "tiny-clip-lstm-easyvqa"]):
        code = (
            f"from vqazoo.cli import run; assert run({arguments!r}) == 0\n"
            "import sys; print([m for m in ('torch', 'timm', 'matplotlib') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_leaves_a_whole_card_and_later_epochs_keep_what_people_wrote(
    table: Path, tmp_path: Path
) -> None:
    from vqazoo.training.loop import run_training as train_run
    from vqazoo.training.run_folder import save_best

    out = tmp_path / "first-run"
    config = run_config(
        {
            "encoder": "tiny-clip",
            "head": "mlp",
            "data": {"type": "table", "args": {"train": str(table)}, "validation_fraction": 0.25},
            "training": {"epochs": 2, "device": "cpu"},
        }
    )
    model = train_run(config, out, report=lambda line: None)
    best = out / "best"
    for name in ("log.jsonl", "loss.png"):
        assert (best / name).read_bytes() == (out / name).read_bytes()
    card = (best / "README.md").read_text()
    assert "\n# first-run\n" in card
    assert "in 2 epochs" in section(card, "training")
    environment = json.loads((best / "environment.json").read_text())
    assert environment["questions"] == {"train": 54, "validation": 18}
    assert "| train | 54 | to learn from |" in card
    assert f"{environment['parameters']['trainable']:,} of " in card
    assert str(tmp_path) not in card
    (best / "README.md").write_text(card.replace("Research, teaching", "Teaching"))
    save_best(model, best, config, [metric("accuracy", 0.125, data="table")], environment)
    text = (best / "README.md").read_text()
    assert "Teaching and baselines" in text
    assert "12.50%" in section(text, "summary")


def test_files_for_the_card_hold_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"0" * 100)
    assert "model.safetensors" not in card_files(folder)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_published_card_that_people_read_is_still_what_its_files_say(
    name: str, tmp_path: Path
) -> None:
    """Every sentence and figure of the packaged cards, which a changed card would not repeat."""
    folder = shutil.copytree(catalogue() / name, tmp_path / name)
    card = (folder / "README.md").read_text()
    write_card(folder)
    assert (folder / "README.md").read_text() == card


def test_questions_that_a_run_did_not_count_are_told_from_what_it_measured_and_learnt() -> None:
    """Files of older releases: 1,100 learnt answers cover 88% of 1,250 training questions."""
    bare = {key: value for key, value in ENVIRONMENT.items() if key != "questions"}
    answers = AnswerList(("red", "no"), (1000, 100), 0.88)
    files = contents(environment_json=json_bytes(bare), answers_json=json_bytes(answers.to_json()))
    data = section(render_card(files, NAME), "data")
    assert "| train | 1,250 |" in data
    assert "| 55 | to choose the best epoch" in data
    counted = section(render_card(contents(), NAME), "data")
    assert "| train | 1,100 |" in counted
    unmeasured = section(render_card(contents(metrics=[]), NAME), "data")
    assert "| 55 | to choose the best epoch" in unmeasured
