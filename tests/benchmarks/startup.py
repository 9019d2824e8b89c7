"""Time of the import, of `list`, of the help and of a first load, each in fresh processes.

Run: python tests/benchmarks/startup.py. Bytecode is kept, as Python does unless it is told not to.
Prints medians in seconds and as a ratio to an empty
Python process, interleaved in one run; of a first load those beyond `import torch`; ends with 1 if
a target is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

REPEATS = 9
NOT_KEPT = "PYTHONDONTWRITEBYTECODE"  # our own modules would be compiled each time
KEEPING = {name: value for name, value in os.environ.items() if name != NOT_KEPT}
EMPTY = "pass"
COMMAND = "from vqazoo.cli import run; run({})"
# Seconds beyond an empty process for the import, in all for commands.
TARGETS = {
    "import vqazoo": ("import vqazoo", 0.15),
    "vqazoo --help": (COMMAND.format(["--help"]), 0.4),
    "vqazoo list": (COMMAND.format(["list"]), 0.4),
}
TORCH = "import torch"
LOAD = "import torch, vqazoo; vqazoo.load({!r})"
LOADS = {  # seconds beyond `import torch`
    "tiny-clip-lstm-easyvqa": 0.4,
    "tiny-clip-med-easyvqa": 0.4,
    "effnet-minilm-mlp-daquar": 1.5,
}


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=KEEPING)
    return time.perf_counter() - start


def main() -> int:
    codes = {"python -c pass": EMPTY, **{name: code for name, (code, _) in TARGETS.items()}}
    codes |= {TORCH: TORCH, **{name: LOAD.format(name) for name in LOADS}}
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
        line = f"{name:26} {value:6.3f} s  {value / empty:5.2f} x an empty process"
        if name in TARGETS:
            measured = value - empty if name.startswith("import") else value
            target = TARGETS[name][1]
            missed += measured >= target
            line += f"  {measured:.3f} s {'<' if measured < target else 'MISSES'} {target} s"
        if name in LOADS:
            measured, target = value - median[TORCH], LOADS[name]
            missed += measured >= target
            line += f"  {measured:.3f} s {'<' if measured < target else 'MISSES'} {target} s"
        print(line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
