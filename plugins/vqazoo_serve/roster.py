"""Who the workers of one service are: their supervisor writes it down, each of them reads it.

Standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "workers.json"


@dataclass(frozen=True)
class Roster:
    """The workers that serve now, in a private folder of the service.

    Attributes:
        folder: where it lies, beside the counters of each worker.
        count: how many workers there should be.
    """

    folder: Path
    count: int

    def write(self, pids: Sequence[int]) -> None:
        """Process ids of the workers that serve; the file is replaced whole."""
        draft = self.folder / f"{FILE}.new"
        draft.write_text(json.dumps(list(pids)), encoding="ascii")
        os.replace(draft, self.folder / FILE)

    def live(self) -> list[int]:
        """Process ids of the workers that serve; none where the supervisor has ended."""
        try:
            pids: list[int] = json.loads((self.folder / FILE).read_text(encoding="ascii"))
        except FileNotFoundError:
            return []
        return pids
