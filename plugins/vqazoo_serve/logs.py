"""The log: one JSON object a line, without anything that users sent. Standard library only."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime

OURS = ("vqazoo_serve", "uvicorn")
MOST, SECONDS = 10, 10.0  # warnings and errors of one place in the code, in that time


class JsonLines(logging.Formatter):
    """Records as JSON. Texts of other libraries are left out, since they may quote a user.

    Of an exception its type and places in the code are logged, not its message, for the same
    reason. Those of one worker of several carry its number.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] in OURS
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage() if ours and not record.exc_info else record.funcName,
            **self._worker,
            **getattr(record, "fields", {}),
        }
        if not ours:
            line["where"] = f"{record.name} {record.filename}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            line["places"] = _places(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True)


class Sparse(logging.Filter):
    """Lets few warnings and errors of one place in the code through: clients may cause any number.

    The next one that passes says in `left_out` how many did not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._places: dict[tuple[str, int], tuple[float, int]] = {}  # start and count

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        place = (record.pathname, record.lineno)
        with self._lock:
            start, count = self._places.get(place, (record.created, 0))
            left_out = 0
            if not 0 <= record.created - start < SECONDS:
                left_out = max(0, count - MOST)
                start, count = record.created, 0
            self._places[place] = (start, count + 1)
        if left_out:
            record.fields = {**getattr(record, "fields", {}), "left_out": left_out}
        return count < MOST


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def log_to_stderr(worker: int | None = None) -> None:
    """Send everything that is logged to stderr as JSON lines; ours from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(worker))
    handler.addFilter(Sparse())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
