"""How much there is room for, on disks and in memories. Imports torch."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import torch


def disk_free(folder: Path) -> int:
    """Free bytes where a folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def memory_free(device: torch.device) -> int:
    """Bytes that are free on a device, as far as the system tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return _available() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not every system has these
        return 4 * 2**30


def _available() -> int:
    """MemAvailable of Linux, which counts what the system would give up; 0 elsewhere."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
