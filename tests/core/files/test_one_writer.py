"""One process writes a folder at a time and says who it is; readers see the old or the new."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import vqazoo
from vqazoo.checkpoint import folder as checkpoint
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, TrainingError
from vqazoo.files import locks, switch
from vqazoo.files.locks import lock_beside, writer
from vqazoo.files.switch import recover
from vqazoo.files.writing import make_once, write_file, write_folder
from vqazoo.publish.pull import pull
from vqazoo.training.run_folder import LOCK, one_writer
from vqazoo_datasets.unpack import unpack

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def child(work: Callable[[], object]) -> int:
    """The number of a process that does this and ends with 0, or with 1 if it raised."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        torch.set_num_threads(1)  # the threads of OpenMP did not come along
        work()
        code = 0
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(code)


def ended(*numbers: int) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in numbers]


@contextmanager
def holder(lock: Path) -> Iterator[int]:
    """Another process that holds a lock until it is killed; its number."""
    ready, tell = os.pipe()

    def hold() -> None:
        with writer(lock, lock, TrainingError):
            os.write(tell, b"!")
            time.sleep(60)

    number = child(hold)
    os.read(ready, 1)
    try:
        yield number
    finally:
        os.kill(number, signal.SIGKILL)
        ended(number)
        os.close(ready)
        os.close(tell)


def model(answers: list[str]) -> vqazoo.VQAModel:
    torch.manual_seed(len(answers))
    return vqazoo.create(encoder="tiny-clip", head="linear", answers=answers)


OLD, NEW = ["red", "blue"], ["a circle", "yes", "no"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(model(OLD), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(params=["exchanged", "renamed twice"])
def switched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to put a folder in another's place; the second as on NFS."""
    if request.param != "exchanged":
        monkeypatch.setattr(switch, "exchange", lambda one, other: False)
    return str(request.param)


# ---- readers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["config.json", "answers.json", "model.safetensors"])
def test_a_folder_that_is_saved_before_any_file_is_read_is_read_again(
    folder, monkeypatch, switched, file
):
    fresh, left, real = model(NEW), [True], checkpoint.verified

    def saved_meanwhile(path: Path, config: dict[str, object]) -> bytes:
        if left and path.name == file:
            left.clear()
            save_checkpoint(fresh, folder)
        return real(path, config)

    content = None
    if file == "config.json":  # as `vqazoo.load` does, which looks at the config first
        content = (folder / file).read_bytes()
        save_checkpoint(fresh, folder)
    monkeypatch.setattr(checkpoint, "verified", saved_meanwhile)
    assert list(load_checkpoint(folder, content).answers.texts) == NEW


def test_a_folder_that_does_not_change_is_refused_at_once(folder, monkeypatch):
    (folder / "answers.json").write_bytes(b"{}")
    monkeypatch.setattr(switch.time, "sleep", lambda seconds: pytest.fail("it was read again"))
    with pytest.raises(CheckpointError, match="altered or cut off"):
        load_checkpoint(folder)


def test_reading_while_another_process_saves_is_never_refused(folder, switched):
    fresh = [model(OLD), model(NEW)]

    def save() -> None:
        for number in range(30):
            save_checkpoint(fresh[number % 2], folder)

    number, reads = child(save), 0
    while os.waitpid(number, os.WNOHANG) == (0, 0):
        assert len(checkpoint.read_folder(folder).answers) in (len(OLD), len(NEW))
        reads += 1
    assert reads


def test_a_reader_leaves_a_writer_alone_who_is_between_two_renames(folder, monkeypatch):
    monkeypatch.setattr(switch, "exchange", lambda one, other: False)
    real, found = os.rename, []
    reader = threading.Thread(target=lambda: found.append(load_checkpoint(folder)))

    def slowly(source: Path, target: Path) -> None:
        real(source, target)
        if Path(target).name.endswith(".old"):
            reader.start()
            time.sleep(0.2)
            assert not folder.exists()

    monkeypatch.setattr(os, "rename", slowly)
    save_checkpoint(model(NEW), folder)
    reader.join()
    assert list(found[0].answers.texts) == NEW


def test_a_folder_that_an_older_release_left_half_renamed_is_read(folder):
    (folder.parent / ".model.new").mkdir()
    folder.rename(folder.parent / ".model.old")
    assert list(load_checkpoint(folder).answers.texts) == OLD
    save_checkpoint(model(NEW), folder)
    assert [one.name for one in folder.parent.iterdir()] == ["model"]


def test_nothing_of_a_writer_is_removed_by_a_reader(folder):
    for name in (".model.old", ".model.new", ".model.lock"):
        (folder.parent / name).mkdir()
    recover(folder)
    load_checkpoint(folder)
    assert len(list(folder.parent.iterdir())) == 4


def test_a_folder_behind_a_link_is_saved_where_it_is(folder, tmp_path):
    (tmp_path / "best").symlink_to(folder)
    save_checkpoint(model(NEW), tmp_path / "best")
    assert (tmp_path / "best").is_symlink()
    assert list(load_checkpoint(folder).answers.texts) == NEW


# ---- writers ----------------------------------------------------------------------------------


def test_two_processes_that_save_one_folder_take_turns(folder, switched):
    fresh = [model(OLD), model(NEW)]

    def save(one: vqazoo.VQAModel) -> None:
        for _ in range(15):
            save_checkpoint(one, folder)

    assert ended(*[child(lambda one=one: save(one)) for one in fresh]) == [0, 0]
    assert list(load_checkpoint(folder).answers.texts) in (OLD, NEW)
    assert [one.name for one in folder.parent.iterdir()] == ["model"]


def test_two_threads_that_save_one_folder_take_turns(tmp_path):
    failed: list[BaseException] = []

    def save(content: bytes) -> None:
        try:
            for _ in range(30):
                write_folder(tmp_path / "model", {"config.json": content})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=save, args=(word,)) for word in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_two_processes_that_write_one_file_each_write_it_whole(tmp_path):
    file = tmp_path / "log.jsonl"

    def write(word: bytes) -> None:
        for length in range(1, 60):
            write_file(file, word * length * 1000)

    both = [child(lambda word=word: write(word)) for word in (b"a", b"b")]
    assert ended(*both) == [0, 0]
    assert len(set(file.read_bytes())) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_file_that_a_killed_writer_left_half_is_no_hindrance(tmp_path):
    (tmp_path / ".log.jsonl.new").write_bytes(b"a long and broken line")
    write_file(tmp_path / "log.jsonl", b"short")
    assert (tmp_path / "log.jsonl").read_bytes() == b"short"
    assert [one.name for one in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_second_run_in_a_folder_is_told_who_is_there(table, tmp_path):
    out = tmp_path / "runs" / "one"
    with holder(out / LOCK) as number, pytest.raises(TrainingError) as caught:
        vqazoo.train(
            out=out,
            encoder="tiny-clip",
            head="mlp",
            data={"type": "table", "args": {"train": str(table)}},
            report=lambda line: None,
        )
    told = str(caught.value)
    assert f"'{out}' is being written by process {number} of this machine (since 20" in told
    assert "pytest" in told or "-c" in told  # its command
    assert told.endswith("wait until that is done, or choose another place.")
    assert [one.name for one in out.iterdir()] == [LOCK]


def test_a_holder_on_another_machine_is_told_with_its_name(tmp_path, monkeypatch):
    with holder(tmp_path / LOCK):
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        with (
            pytest.raises(TrainingError, match=r"written by process \d+ on "),
            one_writer(tmp_path),
        ):
            pass


def test_a_command_is_shown_short_and_on_one_line(tmp_path):
    lock = tmp_path / LOCK
    with holder(lock):
        told = json.loads(lock.read_bytes())
        lock.write_text(json.dumps({**told, "command": "\x1b[2Jtrain\n" + "a" * 1000}))
        with pytest.raises(TrainingError) as caught, one_writer(tmp_path):
            pass
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_dead_holder_is_not_in_the_way(tmp_path):
    with holder(tmp_path / LOCK):
        pass
    assert (tmp_path / LOCK).exists()  # it could not tidy up
    with one_writer(tmp_path):
        assert json.loads((tmp_path / LOCK).read_bytes())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_lock_goes_with_its_process_and_not_with_what_that_has_started(tmp_path):
    """A worker that outlives a killed run does not keep the next one away."""
    with one_writer(tmp_path):
        number = child(lambda: time.sleep(60))
        time.sleep(0.1)
    with one_writer(tmp_path):
        pass
    os.kill(number, signal.SIGKILL)
    ended(number)


def test_the_writer_of_a_run_may_lock_it_again_but_no_other_thread(tmp_path):
    refused = []

    def other() -> None:
        try:
            with one_writer(tmp_path):
                pass
        except TrainingError as error:
            refused.append(str(error))

    with one_writer(tmp_path), one_writer(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "which is this one" in refused[0]


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path / "runs" / "one"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_written_without(tmp_path, monkeypatch):
    def none(descriptor: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    with one_writer(tmp_path):
        write_folder(tmp_path / "best", {"config.json": b"new"})
    assert (tmp_path / "best" / "config.json").read_bytes() == b"new"


def test_a_pull_into_a_folder_that_is_written_is_refused(tmp_path):
    target = tmp_path / "pulled"
    with holder(lock_beside(target)), pytest.raises(CheckpointError, match="is being written by"):
        pull("tiny-clip-lstm-easyvqa", target)
    pull("tiny-clip-lstm-easyvqa", target)
    assert [one.name for one in tmp_path.iterdir() if one.name != ".pulled.lock"] == ["pulled"]


def test_an_archive_that_two_processes_unpack_is_unpacked_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(300):
            archive.writestr(f"images/{number}.txt", f"{number}" * 100)
    into = tmp_path / "data"
    results = [tmp_path / "first", tmp_path / "second"]

    def work(result: Path) -> None:
        result.write_text(str(unpack(tmp_path / "a.zip", into)))

    assert ended(*[child(lambda one=one: work(one)) for one in results]) == [0, 0]
    assert sorted(one.read_text() for one in results) == ["False", "True"]
    assert len(list((into / "images").iterdir())) == 300
    assert [one.name for one in into.iterdir()] == ["images"]


def test_data_that_two_processes_make_are_made_once(tmp_path):
    made = tmp_path / "made"

    def write(folder: Path) -> None:
        with open(tmp_path / "log", "a") as log:
            log.write("made\n")
        (folder / "half").write_text("1")
        time.sleep(0.2)

    assert ended(*[child(lambda: make_once(made, write)) for _ in range(2)]) == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "made"]


def interrupted_at(event: int, lock: Path) -> bool:
    """Whether Ctrl-C came, at the `event`-th line of vqazoo.files.locks, while a lock was held."""
    source = Path(locks.__file__).read_text().splitlines()
    seen = 0

    def trace(frame: FrameType, what: str, argument: object) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != locks.__file__:
            return None
        # Python hears no signal between taking a Lock and entering its block.
        if what == "line" and not source[frame.f_lineno - 1].strip().startswith("with _guard"):
            seen += 1
            if seen == event:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with locks.held(lock), locks.held(lock):
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_lock_that_was_interrupted_at_any_line_is_not_waited_for(tmp_path: Path) -> None:
    """What tidies up after Ctrl-C saves, and so takes the same lock again."""
    event = 1
    while interrupted_at(event, lock := tmp_path / f".{event}.lock"):
        with locks.held(lock):
            assert holder_elsewhere(lock) is not None, f"event {event}"
        event += 1
    assert event > 40


def holder_elsewhere(lock: Path) -> str | None:
    """Who holds a lock, as another process sees it; None if nobody does."""
    with open(lock, "a+b") as file:  # another open file, as in another process
        try:
            locks.fcntl.flock(file, locks.fcntl.LOCK_EX | locks.fcntl.LOCK_NB)
        except BlockingIOError:
            return "somebody"
        return None
