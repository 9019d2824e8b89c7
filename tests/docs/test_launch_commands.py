"""Commands for several processes reach `vqazoo` whatever it is asked for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from torch.distributed.run import get_args_parser

COMMAND = re.compile(r"^torchrun .*vqazoo .*$", re.MULTILINE)
DOCS = Path(__file__).parents[2] / "docs"


def test_torchrun_takes_no_option_of_ours_for_its_own() -> None:
    commands = [
        found for page in sorted(DOCS.rglob("*.md")) for found in COMMAND.findall(page.read_text())
    ]
    assert len(commands) >= 3
    for command in commands:
        asked = shlex.split(command, comments=True)[1:]
        told = get_args_parser().parse_args([*asked, "--start", "model"])
        assert told.training_script == "vqazoo", command
        assert told.training_script_args[-2:] == ["--start", "model"]
