"""What is killed: each scene is made, worked on in a child that is killed, and looked at.

A look raises AssertionError, or whatever the reading raised, if anything was lost. It ends with the
same work done once more, undisturbed, whose outcome is compared with that of work never disturbed.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import shutil
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file

import vqazoo
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.cli import run
from vqazoo_datasets.unpack import unpack
from vqazoo_export import folder as exporting
from vqazoo_export.folder import Options, export_model
from vqazoo_export.graphs import Graph

OLD, NEW = ["red", "blue"], ["a circle", "yes", "no"]
REPO = "ada/kills"
PICTURES = 12


def must(arguments: Sequence[object]) -> None:
    assert run([str(one) for one in arguments]) == 0, arguments


@cache
def model(new: bool) -> vqazoo.VQAModel:
    torch.manual_seed(int(new))
    return vqazoo.create(encoder="tiny-clip", head="linear", answers=NEW if new else OLD)


def known(folder: Path) -> bool:
    """Whether a whole checkpoint is the new one; it answers as that, or as the old one."""
    found = load_checkpoint(folder)
    new = list(found.answers.texts) == NEW
    expected = model(new).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
    return new


def only(folder: Path, *names: str) -> None:
    """Nothing is left over beside what belongs there."""
    assert {one.name for one in folder.iterdir()} == {*names}, list(folder.iterdir())


class Scene(ABC):
    """A folder `root` of its own; `home`: of the Hub's client, which talks to the stand-in."""

    verb = False  # whether the work is a verb of the command line, which ends SIGTERM with 143
    workers = 1

    def __init__(self, root: Path, home: Path) -> None:
        self.root, self.home = root, home
        root.mkdir(parents=True)
        self.once()

    def once(self) -> None:  # noqa: B027 - most need none
        """What all kills share."""

    @abstractmethod
    def make(self) -> None:
        """The state before; whatever the last kill left is removed or gone on with."""

    @abstractmethod
    def work(self) -> object:
        """In the child."""

    @abstractmethod
    def look(self) -> object:
        """In this process, after the kill; what was found."""


class Save(Scene):
    """`save_checkpoint` over an older checkpoint, ten times."""

    def make(self) -> None:
        save_checkpoint(model(False), self.root / "model")

    def work(self) -> None:
        for number in range(10):
            save_checkpoint(model(number % 2 == 0), self.root / "model")

    def look(self) -> object:
        found = known(self.root / "model")
        save_checkpoint(model(True), self.root / "model")
        only(self.root, "model")
        assert known(self.root / "model")
        return found


class SaveTwice(Save):
    """The same with two writers, one of which is killed."""

    workers = 2


class Train(Scene):
    """`vqazoo train` for a few epochs, killed, and gone on with until it is done."""

    verb = True

    def once(self) -> None:
        self.table = questions(self.root / "table")
        self.arguments: list[object] = [
            "train",
            "--encoder",
            "tiny-clip",
            "--head",
            "mlp",
            "--data",
            "table",
            "--quiet",
            "--set",
            f"data.args.train={self.table}",
            "--set",
            "training.epochs=5",
            "--set",
            f"training.cache={self.root / 'cache'}",
        ]
        must([*self.arguments, "--out", self.root / "whole"])
        self.out = self.root / "run"

    def make(self) -> None:
        if self.done():
            shutil.rmtree(self.out)

    def done(self) -> bool:
        log = self.out / "log.jsonl"
        return log.is_file() and len(log.read_text().splitlines()) == 5

    def work(self) -> int:
        resume = ["--resume"] if (self.out / "state.safetensors").exists() else []
        return run([str(one) for one in [*self.arguments, "--out", self.out, *resume]])

    def look(self) -> object:
        if (self.out / "best").exists():
            load_checkpoint(self.out / "best")
        epochs = 0
        if (self.out / "state.safetensors").exists():
            epochs = len((self.out / "log.jsonl").read_text().splitlines())
        if self.done() or epochs % 3 == 2:  # else the next one goes on with it, and is killed too
            assert self.work() == 0
            self.compare()
        return epochs

    def compare(self) -> None:
        for name in ("state.safetensors", "best/model.safetensors"):
            whole, cut = load_file(self.root / "whole" / name), load_file(self.out / name)
            assert whole.keys() == cut.keys()
            assert all(torch.equal(whole[key], cut[key]) for key in whole), name
        only(self.out, *(one.name for one in (self.root / "whole").iterdir()))


class Cache(Scene):
    """`vqazoo features build` by two processes, one of which is killed."""

    verb = True
    workers = 2

    def once(self) -> None:
        self.table = questions(self.root / "table")
        self.make()
        assert self.work() == 0
        self.whole = self.rows()

    def make(self) -> None:
        shutil.rmtree(self.root / "cache", ignore_errors=True)

    def work(self) -> int:
        return run(
            [
                "features",
                "build",
                "--encoder",
                "tiny-clip",
                "--data",
                "table",
                "--set",
                f"data.args.train={self.table}",
                "--cache",
                str(self.root / "cache"),
            ]
        )

    def rows(self) -> dict[str, bytes]:
        from vqazoo.features.cache import FeatureCache, list_caches

        found = {}
        for folder, meta, _, _ in list_caches(self.root / "cache"):
            opened = FeatureCache(folder, meta)
            for key in sorted(opened._places):
                tensors = opened.read([key]).batch(torch.tensor([0]))
                told = [
                    t.contiguous().view(torch.uint8).numpy().tobytes() for t in tensors.values()
                ]
                found[f"{folder.name} {key}"] = hashlib.sha256(b"".join(told)).digest()
        return found

    def look(self) -> object:
        if any((self.root / "cache").glob("*/meta.json")):
            must(["features", "verify", "--cache", self.root / "cache"])
        before = self.rows()
        assert before.items() <= self.whole.items()
        assert self.work() == 0
        assert self.rows() == self.whole
        return len(before)


class Push(Scene):
    """`vqazoo push` of a new checkpoint to a repository that holds an older one."""

    verb = True

    def once(self) -> None:
        for new in (False, True):
            save_checkpoint(model(new), self.root / f"{new}")
        must(["push", self.root / "False", REPO])

    def make(self) -> None:
        must(["push", self.root / "False", REPO])

    def work(self) -> int:
        return run(["push", str(self.root / "True"), REPO])

    def pulled(self) -> bool:
        place = self.root / "pulled"
        shutil.rmtree(place, ignore_errors=True)
        must(["pull", f"hub:{REPO}", place])
        return known(place)

    def look(self) -> object:
        known(self.root / "True")
        found = self.pulled()
        assert self.work() == 0
        assert self.pulled()
        return found


class Pull(Scene):
    """`vqazoo pull` of a new checkpoint over an older one, into a cache that has neither."""

    verb = True

    def once(self) -> None:
        for new in (False, True):
            save_checkpoint(model(new), self.root / f"{new}")
        must(["push", self.root / "False", f"{REPO}-pull"])
        must(["pull", f"hub:{REPO}-pull", self.root / "first"])
        must(["push", self.root / "True", f"{REPO}-pull"])
        self.target = self.root / "mine" / "model"

    def make(self) -> None:
        shutil.rmtree(self.target.parent, ignore_errors=True)
        shutil.copytree(self.root / "first", self.target)
        with contextlib.suppress(OSError):
            for one in (self.home / "hub").glob("models--*-pull"):
                shutil.rmtree(one)

    def work(self) -> int:
        return run(["pull", f"hub:{REPO}-pull", str(self.target)])

    def look(self) -> object:
        found = known(self.target)
        assert self.work() == 0
        assert known(self.target)
        only(self.target.parent, "model")
        return found


class Unpack(Scene):
    """`unpack` of an archive by two processes, one of which is killed."""

    workers = 2

    def once(self) -> None:
        self.expected = {f"images/{n}.txt": f"{n} ".encode() * 2000 for n in range(200)}
        with zipfile.ZipFile(self.root / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.expected.items():
                archive.writestr(name, content)

    def make(self) -> None:
        shutil.rmtree(self.root / "data", ignore_errors=True)
        (self.root / "a.zip.done").unlink(missing_ok=True)

    def work(self) -> object:
        return unpack(self.root / "a.zip", self.root / "data")

    def there(self) -> dict[str, bytes]:
        place = self.root / "data"
        return {f"images/{one.name}": one.read_bytes() for one in place.glob("images/*")}

    def look(self) -> object:
        before = self.there()
        assert before.items() <= self.expected.items()
        unpack(self.root / "a.zip", self.root / "data")
        assert self.there() == self.expected
        only(self.root / "data", "images")
        return len(before)


class Export(Scene):
    """`vqazoo export` over an earlier export. The graphs are traced once, so that most kills fall
    into what follows."""

    def once(self) -> None:
        real = exporting._written
        made: dict[int, bytes] = {}

        def remembered(one: vqazoo.VQAModel, graph: Graph, options: Options) -> bytes:
            if id(one) not in made:
                made[id(one)] = real(one, graph, options)
            return made[id(one)]

        exporting._written = remembered
        for new in (False, True):
            self.export(new)

    def export(self, new: bool) -> object:
        return export_model(model(new), f"new: {new}", self.root / "out", Options("torch-export"))

    def make(self) -> None:
        self.export(False)

    def work(self) -> object:
        return self.export(True)

    def look(self) -> object:
        manifest = json.loads((self.root / "out" / "manifest.json").read_bytes())
        only(self.root / "out", "manifest.json", *manifest["sha256"])
        for name, digest in manifest["sha256"].items():
            content = (self.root / "out" / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
        self.export(True)
        only(self.root, "out")
        return manifest["model"]


def questions(folder: Path) -> Path:
    """A table of questions about a few pictures."""
    from PIL import Image

    folder.mkdir()
    rows = [("image", "question", "answer")]
    for number in range(PICTURES):
        Image.new("RGB", (64, 64), (20 * number, 60, 90)).save(folder / f"{number}.png")
        rows += [
            (f"{number}.png", "is it dark?", "yes" if number < PICTURES // 2 else "no"),
            (f"{number}.png", "which one is it?", str(number % 3)),
        ]
    with open(folder / "questions.csv", "w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return folder / "questions.csv"


SCENES = cast(
    dict[str, type[Scene]],
    {
        "save": Save,
        "save-twice": SaveTwice,
        "train": Train,
        "cache": Cache,
        "push": Push,
        "pull": Pull,
        "unpack": Unpack,
        "export": Export,
    },
)
