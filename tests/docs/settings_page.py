"""Writes docs/reference/settings.md: every setting, its default, and what follows the rows.

Run:  python -m tests.docs.settings_page
"""

from __future__ import annotations

import ast
import io
import math
import tokenize
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT
from vqazoo.config import tables
from vqazoo.config.tables import DataConfig, LoraConfig, RunConfig, StageConfig, TrainingConfig
from vqazoo.training.row_defaults import LARGE, learning

PAGE = ROOT / "docs/reference/settings.md"
SIZES = (500, 5_000, 500_000)
START = """# Which settings are there, and which suit the size of my data?

Made from `vqazoo/config/tables.py` and `vqazoo/training/row_defaults.py` by `python -m
tests.docs.settings_page`; a test compares. A setting is given by `--set KEY=VALUE`, or in a file
for `--config` under the table that stands before its last dot. `vqazoo train ... --dry-run` prints
the whole config as it would run.

## 500, 5,000 or 500,000 rows

Where you say nothing of how to learn, these are taken
([why](training.md#defaults-that-follow-the-number-of-rows)):

"""
ADVICE = """

Besides:

- **500 rows.** Beyond these, differences between settings are smaller than chance; more rows are
  worth than any of them. Few questions choose the best epoch, so do not take the validation score
  for the model's: keep a test file of a few hundred questions about other pictures. Prefer
  [pooled](glossary.md#pooled) fusions (`hadamard`, `sum`) with `mlp`. Compare with `--fusion
  question-only`: where that scores as much, the pictures are not used.
- **5,000 rows.** `vqazoo suggest` has enough to tell parts apart. `vqazoo sweep --search 20` may
  gain a point; it gained none on the 1,000 rows where it was [tried](../about/daquar.md). Give
  `training.patience` where validation has some hundred questions.
- **500,000 rows.** Epochs are long: `training.eval_steps` looks more often,
  `training.precision=bf16` is meant to save time and memory on a GPU, where we could not measure
  it. Encode once, [on many machines](../how-to/encode-on-many-machines.md) if one is too slow, and
  look at `--dry-run` for hours and gigabytes first. Attention over places (`mcan`,
  `cross-attention`) pays here, if anywhere; unfreezing the last blocks (`training.unfreeze_blocks`)
  or `training.lora` too. Nothing of this size was trained where this was written: the largest set
  was easy-VQA with 38,575 questions.

The settings of the first two columns were chosen on sets of 400 to 1,500 questions and on DAQUAR's
6,795: [figures](../about/daquar.md#small-sets).

"""
KINDS: tuple[tuple[str, str, type], ...] = (
    ("The run", "", RunConfig),
    ("Data", "data.", DataConfig),
    ("Training", "training.", TrainingConfig),
    ("LoRA", "training.lora.", LoraConfig),
    ("A stage: `[[training.stages]]`", "", StageConfig),
)
ELSEWHERE = {"data", "training", "origin", "stages", "lora"}  # tables with a section of their own
PARTS = {
    "image_encoder": "the part that sees; `image_encoder.args.KEY` sets an argument",
    "text_encoder": "the part that reads; `text_encoder.args.KEY`",
    "fusion": "what joins both; `fusion.args.KEY`",
    "head": "what answers; `head.args.KEY`",
    "seed": "what random choices begin from",
}


def page() -> str:
    """The whole page."""
    sections = [f"## {title}\n\n{_table(prefix, kind)}" for title, prefix, kind in KINDS]
    return START + _by_rows() + ADVICE + "\n\n".join(sections) + "\n"


def _by_rows() -> str:
    plain = TrainingConfig()
    columns = [learning(rows) if rows < LARGE else {} for rows in SIZES]
    lines = [
        f"| setting | {' | '.join(f'{rows:,} rows' for rows in SIZES)} |",
        "| --- | --- | --- | --- |",
    ]
    for name in learning(0):
        values = [column.get(name, getattr(plain, name)) for column in columns]
        lines.append(f"| `training.{name}` | {' | '.join(map(_value, values))} |")
    held = DataConfig("").validation_fraction
    lines.append(f"| questions held out | {' | '.join(f'{held * rows:,.0f}' for rows in SIZES)} |")
    steps = []
    for rows, column in zip(SIZES, columns, strict=True):
        batch = column.get("batch_size", plain.batch_size)
        steps.append(math.ceil((1 - held) * rows / batch) * column.get("epochs", plain.epochs))
    lines.append(f"| steps of the run | {' | '.join(f'{number:,}' for number in steps)} |")
    return "\n".join(lines)


def _table(prefix: str, kind: type) -> str:
    said = meanings()[kind.__name__]
    lines = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for field in fields(kind):
        if field.name in ELSEWHERE:
            continue
        meaning = PARTS[field.name] if field.name in PARTS else said[field.name]
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        shown = "to be given" if default is MISSING else _value(default)
        lines.append(f"| `{prefix}{field.name}` | {shown} | {_plain(meaning)} |")
    return "\n".join(lines)


def _value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def meanings() -> dict[str, dict[str, str]]:
    """What the comments behind the fields of each table say."""
    source = Path(tables.__file__).read_text(encoding="utf-8")
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                field.target.id: " ".join(
                    comments[line]
                    for line in range(field.lineno, (field.end_lineno or field.lineno) + 1)
                    if line in comments
                )
                for field in node.body
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            }
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
