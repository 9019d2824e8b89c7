"""What a catalogue run finds: one outcome a model, and the table of docs/about/robustness.md."""

from __future__ import annotations

import gc
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqazoo.errors import VqazooError

EQUAL, REFUSED, DIFFERENT, TRACEBACK, LEFT_OUT = (
    "equal",
    "refused in a sentence",
    "DIFFERENT",
    "TRACEBACK",
    "left out",
)
TOLERANCE = 1e-4  # of the largest value; float32 sums in another order


def pictures(folder: Path) -> list[Path]:
    """Two photographs-like files, lying and standing, whose sides make odd margins."""
    drawn = []
    for number, (width, height) in enumerate([(337, 256), (251, 390)]):
        coarse = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(9 - number).integers(-20, 21, (height, width, 3))
        values = np.clip(np.asarray(image).astype(int) + noise, 0, 255).astype(np.uint8)
        drawn.append(folder / f"picture-{number}.png")
        Image.fromarray(values).save(drawn[-1])
    return drawn


def difference(name: str, ours: Tensor | None, theirs: Tensor | None) -> list[str]:
    """Empty if both are equal within the tolerance."""
    if ours is None or theirs is None:
        return [] if ours is theirs else [f"{name}: one of the two has none"]
    if ours.shape != theirs.shape:
        return [f"{name}: {tuple(ours.shape)} instead of {tuple(theirs.shape)}"]
    away = (ours - theirs).abs().max().item()
    scale = max(1.0, theirs.abs().max().item())
    return [] if away <= TOLERANCE * scale else [f"{name}: {away:.2g} away of {scale:.2g}"]


def tried(compare: Callable[[], list[str]]) -> tuple[str, str]:
    """The outcome of one comparison, and its reason."""
    try:
        told = compare()
    except VqazooError as error:
        return REFUSED, str(error)
    except MemoryError:
        return LEFT_OUT, "memory"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return TRACEBACK, f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
    finally:
        gc.collect()
    return (DIFFERENT, "; ".join(told)) if told else (EQUAL, "")


def report(names: Iterable[tuple[str, Callable[[], list[str]]]], library: str) -> int:
    """Print one line a model and the counts; the exit code, 1 if anything is wrong."""
    counts: Counter[str] = Counter()
    for name, compare in names:
        outcome, reason = tried(compare)
        counts[outcome] += 1
        print(f"{name:44} {outcome:22} {' '.join(reason.split())[:200]}", flush=True)
    told = ", ".join(
        f"{counts[one]} {one}" for one in (EQUAL, REFUSED, DIFFERENT, TRACEBACK, LEFT_OUT)
    )
    print(
        f"{datetime.now(UTC):%Y-%m-%d}  {library} {version(library)}, torch {torch.__version__}: "
        f"{told}"
    )
    return int(bool(counts[DIFFERENT] + counts[TRACEBACK]))
