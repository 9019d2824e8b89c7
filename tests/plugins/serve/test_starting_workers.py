"""While some workers still load, the first already answers: what becomes of it, and of a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time

import pytest

from vqazoo.errors import CheckpointError, ConfigError
from vqazoo_serve import supervisor as module
from vqazoo_serve.roster import Roster
from vqazoo_serve.settings import Settings
from vqazoo_serve.supervisor import Service, Supervisor, Worker
from vqazoo_serve.worker import _check_same

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no shared sockets")


class Acted(Worker):
    """A worker without a process: what it says is said for it."""

    def __init__(self, number, service, listener, roster, loaded):
        self.number, self.ready, self.failure = number, False, ""
        self.loaded, self.given = {}, dict(loaded)
        self.started = time.monotonic()
        own, self.theirs = os.pipe()
        self.status = os.fdopen(own, encoding="utf-8")
        self.ended_by = None

    pid = property(lambda self: self.number)

    def says(self, **said):
        os.write(self.theirs, f"{json.dumps(said)}\n".encode())

    def dies(self):
        os.close(self.theirs)

    def end(self, number):
        self.ended_by = number if self.ready else signal.SIGKILL
        self.dies()

    def forget(self):
        self.status.close()
        return -self.ended_by if self.ended_by else -signal.SIGKILL


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """A supervisor of two workers, the first of which takes connections."""
    monkeypatch.setattr(module, "Worker", Acted)
    monkeypatch.setattr(module, "announce", lambda *_: None)
    before = {number: signal.getsignal(number) for number in module.HANDLED}
    service = Service({"m": "m"}, "cpu", Settings())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = Supervisor(service, listener, Roster(tmp_path, 2))
        one._start(1)
        one._workers[1].says(ready=True, loaded={"m": "digest"})
        one._wait()
        assert one._workers.keys() == {1, 2}
        assert not one._serving
        yield one
    for left in one._workers.values():
        left.dies()
        left.forget()
    signal.set_wakeup_fd(-1)
    for key in list(one._selector.get_map().values()):
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
    one._selector.close()
    if one._wakes:
        one._wakes.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_one_that_served_and_died_is_started_again(supervised):
    supervised._workers[1].dies()
    supervised._wait()
    assert supervised._workers.keys() == {2}, "the other one still loads"
    supervised._workers[2].says(ready=True, loaded={"m": "digest"})
    supervised._wait()
    assert supervised._workers.keys() == {2}, "it is not started twice"
    assert not supervised._serving
    supervised._due[1] = 0.0
    supervised._wait()
    supervised._workers[1].says(ready=True, loaded={"m": "digest"})
    supervised._wait()
    assert supervised._serving


def test_one_that_cannot_start_ends_the_service_in_its_words(supervised):
    supervised._workers[2].says(failed="there is too little memory")
    supervised._wait()
    supervised._workers[2].dies()
    with pytest.raises(ConfigError, match="there is too little memory"):
        supervised._wait()


def test_a_signal_lets_the_one_that_serves_answer_what_it_took(supervised):
    serving, loading = supervised._workers[1], supervised._workers[2]
    os.kill(os.getpid(), signal.SIGTERM)
    supervised._wait()
    assert (serving.ended_by, loading.ended_by) == (signal.SIGTERM, signal.SIGKILL)
    while supervised._workers:
        supervised._wait()
    assert supervised._codes == [-signal.SIGTERM]  # the other one took nothing


def test_the_others_have_to_load_what_the_first_one_did(supervised):
    assert supervised._workers[2].given == {"m": "digest"}


def test_once_nobody_serves_a_replaced_model_one_alone_loads_the_new_one(supervised):
    supervised._workers[2].says(ready=True, loaded={"m": "digest"})
    supervised._wait()
    for number in (1, 2):
        supervised._workers[number].dies()
        supervised._wait()
    supervised._due = dict.fromkeys((1, 2), 0.0)
    supervised._wait()
    assert {number: one.given for number, one in supervised._workers.items()} == {1: {}}
    assert supervised._due.keys() == {2}
    supervised._workers[1].says(ready=True, loaded={"m": "another"})
    supervised._wait()
    supervised._due[2] = 0.0
    supervised._wait()
    assert supervised._workers[2].given == {"m": "another"}


def test_a_worker_with_another_model_than_the_others_does_not_serve():
    with pytest.raises(
        CheckpointError, match=r"'dir:runs/a' is another model .* start the service"
    ):
        _check_same({"m": "dir:runs/a"}, {"m": "another"}, {"m": "digest"})
    _check_same({"m": "dir:runs/a"}, {"m": "another"}, {})
