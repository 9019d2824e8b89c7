"""Commands in a terminal of their own, and what stays to be read there."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

COLUMNS, ROWS = 100, 40
MOVES = re.compile(r"(\r\n|\n|\x1b\[[\d;?]*[A-Za-z]|\r)")  # what moves the cursor or colours
SOONEST = 0.1  # seconds between looks at what was written


class Seen(NamedTuple):
    """What a command left on its terminal, its exit status, and the seconds of processor time that
    it took, which other work on the machine changes little."""

    text: str
    status: int
    seconds: float

    @property
    def rows(self) -> int:
        """Rows of the terminal that the text fills."""
        return sum(max(1, math.ceil(len(line) / COLUMNS)) for line in self.text.splitlines())


def left_on_screen(written: str) -> str:
    """The lines that stay, of what was written; bars that were erased are gone.

    Knows what rich writes: up a line, erase the line, colours.
    """
    lines = [""]
    for part in MOVES.split(written):
        if part in ("\r\n", "\n"):
            lines.append("")
        elif up := re.fullmatch(r"\x1b\[(\d*)A", part):
            del lines[max(1, len(lines) - int(up[1] or 1)) :]
        elif part == "\x1b[2K":
            lines[-1] = ""
        elif not part.startswith(("\x1b", "\r")):
            lines[-1] += part
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def seen(
    command: str,
    folder: Path,
    environment: Mapping[str, str],
    during: Callable[[subprocess.Popen[bytes]], None] = lambda process: None,
) -> Seen:
    """Run a line of shell in a terminal of 100 columns and wait for its end.

    Args:
        during: called once it runs; whoever starts a service ends it here.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env={**environment, "TERM": "xterm"},
    )
    os.close(slave)
    os.set_blocking(master, False)
    written = b""
    try:
        during(process)
        while True:
            ended = has_ended(process)
            written += _read(master)
            if ended:
                break
            time.sleep(SOONEST)
    finally:
        if not has_ended(process):
            process.kill()
        os.close(master)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = left_on_screen(written.decode(errors="replace"))
    return Seen(text, process.returncode, used.ru_utime + used.ru_stime)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process is over; what it used is still to be asked."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _read(master: int) -> bytes:
    """What is there now."""
    found = b""
    while True:
        try:
            chunk = os.read(master, 1 << 16)
        except OSError:  # nothing more, or the other end is closed
            return found
        if not chunk:
            return found
        found += chunk
