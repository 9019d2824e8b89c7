"""Kills processes while they write, and looks whether anything was lost.

    python -m tests.whole.kills.kills --kills 300

SIGKILL and SIGTERM in turn, at a random moment of the work. Each is followed by a look: the old or
the new state is read and is exactly that; the same work then ends as if nothing had been. Prints a
table, writes a line for each kill, and ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.whole.hub.server import StandInHub

if TYPE_CHECKING:
    from tests.whole.kills.scenes import Scene

TOKEN = "hf_ada_secret"
LONGEST = 120.0  # seconds for a worker that nobody kills
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


def started(scene: Scene, log: Path) -> int:
    """The number of a process that does the work of a scene."""
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(written, 1)
        os.dup2(written, 2)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # not what this process collects
        done = scene.work()
        code = done if scene.verb and isinstance(done, int) else 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def waited(number: int) -> int:
    """How a process ended; one that does not is killed, and that is a loss."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    raise AssertionError("a process did not end")


def measured(scene: Scene, log: Path) -> float:
    """Seconds that the work takes; it has to succeed."""
    scene.make()
    start = time.perf_counter()
    assert [waited(n) for n in [started(scene, log) for _ in range(scene.workers)]] == [
        0
    ] * scene.workers, log.read_text()
    spent = time.perf_counter() - start
    scene.look()
    return spent


def killed(scene: Scene, sent: signal.Signals, after: float, log: Path) -> dict[str, Any]:
    """One kill; what became of it. Raises AssertionError, or what reading raised."""
    log.write_bytes(b"")
    scene.make()
    numbers = [started(scene, log) for _ in range(scene.workers)]
    time.sleep(after)
    os.kill(numbers[0], sent)
    codes = [waited(number) for number in numbers]
    told = log.read_text(errors="replace")
    assert "Traceback" not in told, told[-2000:]
    allowed = {0, -sent, 143} if scene.verb else {0, -sent}
    assert codes[0] in allowed, (codes, told[-2000:])
    assert not any(codes[1:]), (codes, told[-2000:])
    if codes[0] == 143:
        assert "Interrupted by SIGTERM" in told, told
    return {"ended": codes[0], "found": scene.look()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, help="a line of JSON for each kill")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also while a look runs a verb
    with tempfile.TemporaryDirectory(prefix="vqazoo-kills-") as scratch, StandInHub() as hub:
        home = Path(scratch) / "home"
        hub.add_token(TOKEN, "ada")
        os.environ.update(hub.environment(home, TOKEN))  # before its client is imported
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "caches")
        return _all(given, Path(scratch), home)


def _all(given: argparse.Namespace, scratch: Path, home: Path) -> int:
    import torch

    from tests.whole.kills.scenes import SCENES

    torch.set_num_threads(1)  # as in the children, whose sums are compared with those of this one
    rng = random.Random(given.seed)
    names = given.scenes or list(SCENES)
    log = scratch / "told.txt"
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        scenes = {name: SCENES[name](scratch / name, home) for name in names}
        seconds = {name: measured(scene, log) for name, scene in scenes.items()}
    counted: Counter[tuple[str, str]] = Counter()
    losses = 0
    for number in range(given.kills):
        name, sent = names[number % len(names)], SIGNALS[number // len(names) % 2]
        after = rng.uniform(0, 1.1 * seconds[name])
        line = {"kill": number, "scene": name, "signal": sent.name, "after": round(after, 4)}
        try:
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said):
                line |= killed(scenes[name], sent, after, log)
        except Exception as error:
            losses += 1
            line |= {"lost": f"{type(error).__name__}: {error}", "said": said.getvalue()[-1000:]}
            print(json.dumps(line), file=sys.stderr)
        counted[name, sent.name] += 1
        counted[name, "lost"] += "lost" in line
        counted[name, "in the midst"] += line.get("ended", 0) != 0
        if given.out:
            with open(given.out, "a") as out:
                out.write(json.dumps(line, default=str) + "\n")
    print("| what is written | SIGKILL | SIGTERM | of them in the midst of the work | losses |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        columns = ("SIGKILL", "SIGTERM", "in the midst", "lost")
        print(f"| {name} | {' | '.join(str(counted[name, one]) for one in columns)} |")
    print(f"{given.kills} kills, {losses} losses (seed {given.seed}).")
    return int(losses > 0)


if __name__ == "__main__":
    sys.exit(main())
