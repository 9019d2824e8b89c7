"""One writer of JSON, which knows no nan."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from vqazoo.cli.output import print_json
from vqazoo.data import Example
from vqazoo.errors import DataError
from vqazoo.evaluation.predictions import submissions, to_json_lines
from vqazoo.files.json_text import json_text
from vqazoo.files.writing import json_bytes, json_lines
from vqazoo.interfaces import Answer

ROOT = Path(__file__).parents[3]
STRANGE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("number", STRANGE)
@pytest.mark.parametrize("write", [json_text, json_bytes, print_json])
def test_a_number_that_json_does_not_know_is_refused_with_its_place(write, number, capsys) -> None:
    with pytest.raises(DataError, match=r"'answers\[1\]\.score' is -?(nan|inf), which JSON does"):
        write({"answers": [{"score": 0.5}, {"score": number}]})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", STRANGE)
def test_a_log_has_null_for_it(number: float) -> None:
    assert json.loads(json_lines([{"loss": number, "all": [number]}])) == {
        "loss": None,
        "all": [None],
    }


def test_answers_to_a_split_with_such_numbers_are_not_written_as_they_are() -> None:
    example = Example(Path("a.png"), "what?", (), "1")
    (line,) = to_json_lines([example], [Answer("x", math.nan)]).splitlines()
    assert json.loads(line)["score"] is None
    with pytest.raises(DataError, match="'score' is inf"):
        to_json_lines([example], [Answer("x", math.inf)])
    assert json.loads(submissions("vizwiz", [example], [Answer("x", math.nan)])["submission.json"])


def test_the_texts_are_those_of_json_itself() -> None:
    value = {"ö": [1, 0.1, None, True], "a": {"b": "\u2028"}}
    assert json_text(value) == json.dumps(value, ensure_ascii=False)
    assert json_text(value, 2, True, True) == json.dumps(value, indent=2, sort_keys=True)


# Why these may call json.dumps: what they make is a digest, a message or a comparison, is compared
# with what was kept, is the header of a library's format, or is read by nobody but its writer.
ELSEWHERE = {
    "vqazoo/files/json_text.py",
    "vqazoo/files/tensors_bytes.py",
    "vqazoo/phrasing.py",
    "vqazoo/cli/terminal.py",
    "vqazoo/config/writing.py",
    "vqazoo/features/cache.py",  # digests, and so is that of
    "plugins/vqazoo_hf/sentence.py",
    "vqazoo/training/state.py",  # of a run's state: -inf is a best value that there is not yet
    "vqazoo/files/reading.py",
    "vqazoo/data/text_files.py",
    "plugins/vqazoo_datasets/files.py",
    "plugins/vqazoo_datasets/table.py",
    "plugins/vqazoo_pretraining/captions.py",  # messages
    "plugins/vqazoo_open_clip/sources.py",
    "vqazoo/toolkit/generation.py",
    "vqazoo/cli/options.py",
    "vqazoo/cli/train.py",
    "vqazoo/cli/data_init.py",  # texts as TOML
    "plugins/vqazoo_datasets/cells.py",  # messages
    "plugins/vqazoo_export/runner/run.py",  # needs nothing of vqazoo
    "plugins/vqazoo_serve/logs.py",
    "plugins/vqazoo_serve/connections.py",  # texts, whole numbers
    "plugins/vqazoo_demo/doors.py",
    "plugins/vqazoo_serve/roster.py",
    "plugins/vqazoo_serve/supervisor.py",
    "plugins/vqazoo_serve/worker.py",  # between processes of ours
    "plugins/vqazoo_export/triton.py",  # texts of a protobuf, which are quoted alike
    "vqazoo/publish/bundle.py",  # a file of another library, but for its notes of paths
}


def test_all_that_is_kept_or_printed_is_written_by_one_function() -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for folder in ("vqazoo", "plugins")
        for file in (ROOT / folder).rglob("*.py")
        if re.search(r"\bjson\.dumps?\(", file.read_text(encoding="utf-8"))
    }
    assert found <= ELSEWHERE
