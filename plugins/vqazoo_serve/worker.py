"""One worker of several: started by supervisor.py, with its orders as a line on stdin.

It loads the models, takes connections from the socket that it was handed, and ends as a service of
one process does. When stdin ends, the supervisor is gone, and so it goes too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

from vqazoo.cli.output import guard_libraries
from vqazoo.errors import CheckpointError, VqazooError
from vqazoo_serve.logs import log_to_stderr
from vqazoo_serve.roster import Roster
from vqazoo_serve.settings import Settings

BACKLOG = 1  # connections taken in one go: the others are for workers that have less to do


def main() -> None:
    """Serve as the line on stdin says."""
    order = json.loads(sys.stdin.readline())
    serves, alone = Event(), Event()
    roster = Roster(Path(order["folder"]), order["count"])
    Thread(target=_end_with_supervisor, args=(serves, alone, roster), daemon=True).start()
    guard_libraries()
    with (
        open(order["status"], "w", encoding="utf-8") as status,
        socket.socket(fileno=order["listener"]) as listener,
    ):
        try:
            _serve(order, roster, listener, serves, status)
        except VqazooError as error:
            _tell(status, failed=str(error))
            raise SystemExit(1) from None
        finally:
            if alone.is_set():
                _forget(roster)


def _serve(
    order: dict[str, Any],
    roster: Roster,
    listener: socket.socket,
    serves: Event,
    status: IO[str],
) -> None:
    import torch

    import vqazoo
    from vqazoo.evaluation.predicting import whole_digest_of

    torch.set_num_threads(max(1, torch.get_num_threads() // roster.count))
    served = order["models"].items()
    models = {name: vqazoo.load(model, device=order["device"]) for name, model in served}
    loaded = {name: whole_digest_of(model) for name, model in models.items()}
    _check_same(order["models"], loaded, order["loaded"])
    log_to_stderr(order["worker"])
    from vqazoo_serve.metrics import WorkerMetrics
    from vqazoo_serve.server import serve_on, server_for

    def ready() -> None:
        serves.set()
        _tell(status, ready=True, loaded=loaded)

    metrics = WorkerMetrics(roster, order["worker"])
    server = server_for(models, Settings(**order["settings"]), metrics, roster, BACKLOG)
    server.on_ready = ready
    serve_on(server, listener)


def _check_same(
    references: Mapping[str, str], loaded: Mapping[str, str], others: Mapping[str, str]
) -> None:
    """Workers of one service answer alike.

    Args:
        loaded: digests of this worker's models by public name; others: those of the workers that
            serve already; empty: none does.

    Raises:
        CheckpointError: a model was replaced since.
    """
    for name, digest in others.items():
        if loaded[name] != digest:
            raise CheckpointError(
                f"'{references[name]}' is another model than the one that the other workers serve, "
                f"since it was replaced meanwhile: start the service again to serve the new one."
            )


def _tell(status: IO[str], **said: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
        status.write(json.dumps(said) + "\n")
        status.flush()


def _end_with_supervisor(serves: Event, alone: Event, roster: Roster) -> None:
    sys.stdin.read()
    alone.set()
    if not serves.is_set():
        _forget(roster)
        os._exit(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _forget(roster: Roster) -> None:
    """Remove the folder that the supervisor left."""
    shutil.rmtree(roster.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
