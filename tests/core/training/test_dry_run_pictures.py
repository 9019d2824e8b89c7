"""A dry run says what the run will make of pictures that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vqazoo.cli import run


@pytest.mark.parametrize(
    ("flags", "told"),
    [([], "the run stops, but for --skip-missing."), (["--skip-missing"], "are left out.")],
)
def test_missing_pictures_are_told_before_the_run(
    flags: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names[:-1]):
        Image.new("RGB", (32, 32), (40 * number, 9, 90)).save(name)
    rows = "".join(f"{name},is it red?,{'yes' if name < '3' else 'no'}\n" for name in names)
    Path("t.csv").write_text(f"image,question,answer\n{rows}")
    asked = ["train", "--encoder", "tiny-clip", "--head", "linear", "--data", "t.csv", *flags]
    assert run([*asked, "--device", "cpu", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert (
        f"Not there: 1 of 6 pictures, such as '5.png': {'their questions ' * bool(flags)}{told}"
        in said
    )
