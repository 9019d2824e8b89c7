"""`python -m tests.whole.fuzz CASES FIRST SECONDS`: damaged folders, of the seeds from FIRST on.

Each runs in this process; one that takes longer than 60 seconds is a failure too.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from tests.whole.fuzz.kinds import attempt, make_kinds
from vqazoo.registry import registry
from vqazoo.testing import TOY, ToyEncoder

LONGEST = 60  # seconds


def stop(*_: object) -> None:
    raise AssertionError(f"not done after {LONGEST} seconds")


def main(cases: int, first: int, seconds: float) -> int:
    warnings.simplefilter("ignore")
    registry.register("encoder", "toy", TOY)(ToyEncoder)
    signal.signal(signal.SIGALRM, stop)
    seen: Counter[tuple[str, str]] = Counter()
    failures = 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        kinds = make_kinds(Path(place))
        for number in range(first, first + cases):
            if time.monotonic() - start > seconds:
                break
            signal.alarm(LONGEST)
            try:
                seen[attempt(kinds, number, Path(place))] += 1
            except AssertionError as error:
                failures += 1
                print(str(error), flush=True)
            signal.alarm(0)
    tried = sum(seen.values()) + failures
    for (name, end), count in sorted(seen.items()):
        print(f"{name:12} {end:20} {count:6,}")
    print(f"{tried:,} cases in {time.monotonic() - start:.0f} s, {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    defaults = ["20000", "0", "inf"]
    cases, first, seconds = [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]][:3]
    raise SystemExit(main(int(cases), int(first), float(seconds)))
