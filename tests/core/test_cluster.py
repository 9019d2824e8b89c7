"""Actors of a cluster that was started elsewhere work where the work was begun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vqazoo.cluster import Actor, Cluster


class Here:
    """What of Ray is used, with an actor that is a plain object of this process."""

    class exceptions:
        RayTaskError = RayError = KeyError

    def __init__(self, elsewhere: Path) -> None:
        self._elsewhere = elsewhere

    def remote(self, kind: type) -> Any:
        here = self

        class Made:
            @staticmethod
            def options(**given: Any) -> Any:
                return Made

            @staticmethod
            def remote(*given: Any) -> Any:
                os.chdir(here._elsewhere)
                return Asked(kind(*given))

        return Made

    def wait(self, sent: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return sent[:1], sent[1:]

    def get(self, reference: Any) -> Any:
        actor, task = reference
        return actor.do(task)

    def kill(self, actor: Any) -> None:
        pass


class Asked:
    def __init__(self, actor: Any) -> None:
        class Do:
            @staticmethod
            def remote(task: Any) -> Any:
                return actor, task

        self.do = Do


def test_an_actor_that_begins_in_another_folder_reads_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    (home / "rows.txt").write_text("mine")
    monkeypatch.chdir(home)
    cluster = Cluster(Here(other), workers=1, device="cpu", cpus=1, gpus=0)
    (done,) = cluster.spread(lambda: lambda name: Path(name).read_text(), iter(["rows.txt"]))
    assert done == ("rows.txt", "mine")


def test_an_actor_whose_node_lacks_the_folder_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    actor: Actor[int, int] = Actor(lambda: lambda task: task + 1, str(tmp_path / "none"))
    assert actor.do(1) == 2
    assert Path.cwd() == tmp_path
