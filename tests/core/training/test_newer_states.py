"""The state of a run that a newer release wrote is refused by the name of what is not known."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from vqazoo.errors import TrainingError
from vqazoo.training.state import Position
from vqazoo.training.state_file import read_place, reading_state
from vqazoo.training.step_run import StepPosition
from vqazoo.version import __version__


@pytest.mark.parametrize("kind", [Position, StepPosition])
def test_a_position_of_a_newer_release_is_refused_by_name(
    kind: type[Position] | type[StepPosition], tmp_path: Path
) -> None:
    told = {**asdict(kind()), "warp": 1}
    with (
        pytest.raises(TrainingError, match="newer release may have written it") as refused,
        reading_state(tmp_path / "state.safetensors", "nothing is lost"),
    ):
        read_place(kind, json.dumps(told))
    assert f"its position tells 'warp', which vqazoo {__version__} does not know" in str(
        refused.value
    )


@pytest.mark.parametrize("kind", [Position, StepPosition])
def test_a_position_is_read_as_it_was_written_and_an_older_one_with_defaults(
    kind: type[Position] | type[StepPosition],
) -> None:
    there = kind(**{"stage" if kind is Position else "step": 3})
    assert read_place(kind, json.dumps(asdict(there))) == there
    assert read_place(kind, "{}") == kind()


@pytest.mark.parametrize("text", ["[]", '{"stage": "one"}', '{"total": true}', "{"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"position|property name"):
        read_place(Position, text)
