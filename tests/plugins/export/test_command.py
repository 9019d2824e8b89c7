"""What the command says of an export; what is exported is tested elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from vqazoo_export import command


@pytest.mark.parametrize("int8", [True, False])
def test_eight_bits_that_nothing_compared_are_said_to_change_answers(
    int8: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = {"graphs": [{"file": "model.onnx", "bytes": 5}]}
    monkeypatch.setattr("vqazoo_export.folder.export_model", lambda *args, **kwargs: manifest)
    given = ["tiny-clip-linear-easyvqa", "--out", str(tmp_path / "out"), *["--int8"][: int(int8)]]
    done = CliRunner().invoke(command.export, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert ("answers: --data NAME says how many are the same." in done.stdout) is int8
