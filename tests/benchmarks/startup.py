"""Time to import vqazoo, to list its parts and to show its help, each in fresh processes.

Run: python tests/benchmarks/startup.py. Prints medians in seconds and as a ratio to an empty
Python process, interleaved in one run; ends with 1 if a target is missed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REPEATS = 15
EMPTY = "pass"
COMMAND = "from vqazoo.cli import run; run({})"
# Seconds beyond an empty process for the import, in all for commands.
TARGETS = {
    "import vqazoo": ("import vqazoo", 0.15),
    "vqazoo --help": (COMMAND.format(["--help"]), 0.4),
    "vqazoo list": (COMMAND.format(["list"]), 0.4),
}


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    codes = {"python -c pass": EMPTY, **{name: code for name, (code, _) in TARGETS.items()}}
    taken: dict[str, list[float]] = {name: [] for name in codes}
    for code in codes.values():  # once to fill the disk cache
        seconds(code)
    for _ in range(REPEATS):
        for name, code in codes.items():
            taken[name].append(seconds(code))
    median = {name: statistics.median(values) for name, values in taken.items()}
    empty = median["python -c pass"]
    missed = 0
    for name, value in median.items():
        line = f"{name:16} {value:6.3f} s  {value / empty:5.2f} x an empty process"
        if name in TARGETS:
            measured = value - empty if name.startswith("import") else value
            target = TARGETS[name][1]
            missed += measured >= target
            line += f"  {measured:.3f} s {'<' if measured < target else 'MISSES'} {target} s"
        print(line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
