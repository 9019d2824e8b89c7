"""What a run was made with: versions, commit, machine, data digests. Imports torch."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = (
    "vqazoo",
    "torch",
    "accelerate",
    "torchvision",
    "timm",
    "open_clip_torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pillow",
)


def describe_environment(
    device: torch.device,
    data_sha256: Mapping[str, str],
    questions: Mapping[str, int],
    labels: Mapping[str, int],
    processes: int = 1,
    sharded: bool = False,
    energy: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Facts to record beside a result; nothing that names the user or the machine's paths.

    Args:
        data_sha256: digest of each part of the data; questions: how many it has.
        labels: what the head learns besides answers, and how many questions came with it.
        processes: how many trained together; sharded: whether each held a part of the weights.
        energy: facts of the meter that reads it, if there is one.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device.type,
        "hardware": f"{name}, {os.cpu_count()} CPU cores",
        **({"processes": processes, "sharded": sharded} if processes > 1 else {}),
        "python": platform.python_version(),
        "versions": {
            library: installed for library in LIBRARIES if (installed := _version(library))
        },
        "commit": _commit(),
        "data_sha256": dict(data_sha256),
        "questions": dict(questions),
        "labels": dict(labels),
        **({"energy": dict(energy)} if energy else {}),
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Commit of the source checkout this runs from, `+` if it was changed; empty if installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
