"""The page of settings is what the config says, and each setting says what it does."""

from __future__ import annotations

import re

from tests.docs.settings_page import PAGE, page
from vqazoo.config import TrainingConfig
from vqazoo.training.row_defaults import TOGETHER, learning
from vqazoo.training.settings import gather_config

ROW = re.compile(r"^\| `([\w.]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run  python -m tests.docs.settings_page"


def test_every_setting_says_what_it_does() -> None:
    described = page().partition("## The run")[2]
    rows = ROW.findall(described)
    assert len(rows) > 50
    assert not [name for name, _, meaning in rows if not meaning.strip()]
    names = {name for name, _, _ in rows}
    assert {f"training.{name}" for name in TOGETHER} - names == {"training.stages", "training.lora"}


def test_the_defaults_that_are_shown_are_those_of_an_empty_config() -> None:
    parts = {"encoder": "tiny-clip", "head": "mlp", "data": "easy-vqa"}
    training = gather_config(None, (), parts).training
    shown = {name: default for name, default, _ in ROW.findall(page().partition("## The run")[2])}
    assert shown["training.epochs"] == f"`{training.epochs}`"
    assert shown["training.batch_size"] == f"`{training.batch_size}`"
    assert shown["training.schedule"] == f'`"{training.schedule}"`'


def test_the_columns_of_rows_are_what_a_run_of_so_many_rows_takes() -> None:
    advised = page().partition("## The run")[0]
    shown = dict(re.findall(r"^\| `training\.(\w+)` \| (.*) \|$", advised, re.MULTILINE))
    few, _, many = shown["batch_size"].split(" | ")
    assert few == f"`{learning(500)['batch_size']}`"
    assert many == f"`{TrainingConfig().batch_size}`"
