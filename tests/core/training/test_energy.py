"""The logger `codecarbon`: what a run took, in its log, its card and the Hub's field."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import vqazoo
from tests.support.made_cards import ENVIRONMENT, LOG, contents, section
from vqazoo.card import merge, render_card
from vqazoo.card.prose import join, split_front
from vqazoo.errors import CheckpointError, TrainingError
from vqazoo.files.writing import json_bytes, json_lines

FACTS = {"meter": "codecarbon 3.3.2", "parts": ["RAM()", "CPU(Cpu Load)"], "place": "Germany"}
BOTH = {"energy_kwh": 0.5, "emissions_g": 100.0}
# What would ask the network, write files or lock others out.
CONFIG = """[codecarbon]
save_to_api=true
save_to_file=true
output_methods=csv,api
emissions_endpoint=http://localhost:1
co2_signal_api_token=secret
allow_multiple_runs=false
"""


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a real meter, of a user whose own config of codecarbon asks for more."""
    pytest.importorskip("codecarbon", reason="vqazoo[energy] is not installed")
    home = tmp_path_factory.mktemp("home")
    (home / ".codecarbon.config").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("CODECARBON_COUNTRY_ISO_CODE", "DEU")
        patch.chdir(tmp_path_factory.mktemp("work"))
        train(table, Path("run"))
        assert [file.name for file in Path().iterdir()] == ["run"]
        return Path("run").absolute()


def train(table: Path, out: Path) -> None:
    vqazoo.train(
        out=out,
        encoder="tiny-clip",
        head="linear",
        data={"type": "table", "args": {"train": str(table)}},
        set=["training.epochs=2", "training.loggers=['codecarbon']"],
        report=lambda line: None,
    )


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_each_epoch_has_its_energy_and_the_carbon_of_the_countrys_electricity(run: Path) -> None:
    mix = files("codecarbon") / "data/private_infra/global_energy_mix.json"
    grams = json.loads(mix.read_text())["DEU"]["carbon_intensity"]  # of a kilowatt-hour
    lines = log_of(run)
    assert len(lines) == 2
    for line in lines:
        assert line["energy_kwh"] > 0
        assert line["emissions_g"] == pytest.approx(grams * line["energy_kwh"], rel=1e-6)


def test_nothing_is_written_beside_the_run(run: Path) -> None:
    names = [file.name for file in run.rglob("*")]
    assert not [name for name in names if "emission" in name or "carbon" in name]


def test_the_card_and_the_hubs_field_add_the_epochs_up(run: Path) -> None:
    card = (run / "best/README.md").read_text()
    total = sum(line["emissions_g"] for line in log_of(run))
    emissions = ModelCard(card).data.to_dict()["co2_eq_emissions"]
    assert emissions["emissions"] == pytest.approx(total, rel=1e-3)
    assert emissions["geographical_location"] == "Germany"
    assert emissions["training_type"] == "fine-tuning"  # of a pretrained encoder
    assert emissions["source"].startswith("codecarbon 3")
    assert "an estimate" in emissions["source"]
    environment = json.loads((run / "environment.json").read_text())
    assert emissions["hardware_used"] == environment["hardware"]
    text = section(card, "training")
    assert "memory estimated from its size" in text
    assert "Energy and carbon were not measured" not in text


def test_without_the_package_it_is_named(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(TrainingError, match=r"pip install 'vqazoo\[energy\]'"):
        train(table, tmp_path / "run")


# ---- the card, by hand --------------------------------------------------------------------------


def made(figures: list[dict[str, float]], facts: dict[str, Any] | None = None) -> str:
    lines = [{**line, **more} for line, more in zip(LOG, figures, strict=True)]
    environment = {**ENVIRONMENT, "energy": FACTS if facts is None else facts}
    changes = {"environment_json": json_bytes(environment), "log_jsonl": json_lines(lines)}
    return render_card(contents(**changes), "made")


def test_a_card_says_what_was_metered_and_that_it_is_an_estimate() -> None:
    card = made([BOTH, {"energy_kwh": 0.25, "emissions_g": 50.0}])
    text = section(card, "training")
    assert (
        "- Energy: 0.75 kWh of the whole machine in 2 epochs, with encoding and validation. An "
        "estimate by codecarbon 3.3.2: memory estimated from its size, processor estimated from "
        "its load and its thermal design power."
    ) in text
    assert (
        "- Carbon: 150 g of CO2 equivalents, an estimate from the average electricity of Germany."
        in text
    )
    assert "- Time: " in text
    assert ModelCard(card).data.to_dict()["co2_eq_emissions"]["emissions"] == 150.0


@pytest.mark.parametrize(
    ("figures", "facts", "words"),
    [
        ([{}, {}], None, "- Energy and carbon were not measured."),
        (
            [{"energy_kwh": 0.5}] * 2,
            {**FACTS, "place": ""},
            "where the machine stands was not said",
        ),
        ([{}, BOTH], None, "0.5 kWh of the whole machine in 1 of 2 epochs"),
    ],
)
def test_what_was_not_metered_is_not_claimed(
    figures: list[dict[str, float]], facts: dict[str, Any] | None, words: str
) -> None:
    card = made(figures, facts)
    assert words in section(card, "training")
    assert "co2_eq_emissions" not in ModelCard(card).data.to_dict()


def test_a_figure_of_ours_goes_with_its_run_and_that_of_a_person_stays() -> None:
    metered = made([BOTH] * 2)
    plain = render_card(contents(), "made")
    assert "co2_eq_emissions" not in split_front(merge(metered, plain))[0]
    front, body = split_front(plain)
    theirs = join({**front, "co2_eq_emissions": {"emissions": 7, "source": "a bill"}}, body)
    assert split_front(merge(theirs, plain))[0]["co2_eq_emissions"]["emissions"] == 7


@pytest.mark.parametrize("energy", [7, {"parts": 7}])
def test_facts_that_nobody_wrote_are_refused(energy: Any) -> None:
    changes = {"environment_json": json_bytes({**ENVIRONMENT, "energy": energy})}
    with pytest.raises(CheckpointError, match=r"environment\.json is not as"):
        render_card(contents(**changes), "made")
