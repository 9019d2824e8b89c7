"""Mutation testing: small faults are put into the code one by one, and the tests must notice.

    make mutants                                             a sample, as pyproject.toml says
    python tests/whole/mutation/mutants.py vqazoo/metrics/words.py every place of one module

cosmic-ray makes the mutants, in a copy of the working tree. A mutant is tried on the tests of its
own module only, so that it costs seconds: by name (vqazoo/x.py: tests/test_x*.py, and the folder of
the tests of its folder), or as [tool.mutants.tests] in pyproject.toml says. Of each place in the
code one mutant is drawn. Those that were tried are kept in a file of JSON lines, from which a run
that was stopped goes on. Exit code 1: one survived.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
PYTEST = "-m pytest -x -q -W ignore -p no:cacheprovider --no-header --tb=no"
SLOWEST = 60  # seconds that a mutant may take besides three times what the tests take
KILLED, SURVIVED, BROKEN = "killed", "survived", "incompetent"


class Mutant(NamedTuple):
    """A place in the code, and what is done there."""

    module: str
    line: int
    column: int
    operator: str
    occurrence: int

    @property
    def key(self) -> str:
        return ":".join(map(str, self))


def main(arguments: Sequence[str] | None = None) -> int:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help="files to mutate; none: those of pyproject.toml")
    parser.add_argument("--sample", type=int, default=settings["sample"])
    parser.add_argument("--seed", type=int, default=settings["seed"])
    parser.add_argument("--minutes", type=float, default=settings["minutes"])
    parser.add_argument("--part", default="1/1", help="2/3: the second of three processes")
    parser.add_argument("--out", type=Path, default=Path("runs/mutants.jsonl"))
    given = parser.parse_args(arguments)
    out = given.out.absolute()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copied(Path(folder))
        os.chdir(folder)
        modules = given.modules or sorted(
            str(file) for pattern in settings["modules"] for file in Path().glob(pattern)
        )
        tests = {module: tests_of(module, settings["tests"]) for module in modules}
        mute = [module for module in modules if not tests[module]]
        known = [module for module in modules if tests[module]]
        part, parts = map(int, given.part.split("/"))
        mutants = drawn(known, given.sample, given.seed)[part - 1 :: parts]
        print(f"{len(mutants)} mutants in {len({m.module for m in mutants})} modules.")
        if mute:
            print(f"Without tests in pyproject.toml, not tried: {', '.join(mute)}.")
        tried = run(mutants, tests, out, time.monotonic() + 60 * given.minutes)
    return told(tried, len(mutants))


def copied(folder: Path) -> None:
    """The working tree without what git ignores; imports and tests use it alone."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    places = [str(folder), str(folder / "plugins"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def tests_of(module: str, table: dict[str, list[str]]) -> list[str]:
    """Tests to try a module's mutants on, the nearest first."""
    for pattern, listed in table.items():
        if fnmatch(module, pattern):
            if lost := [name for name in listed if not Path(name).exists()]:
                raise SystemExit(f"[tool.mutants.tests] names {lost[0]}, which does not exist.")
            return listed
    path = Path(module)
    folders = [Path("tests"), Path("tests") / path.parent.name.removeprefix("vqazoo_")]
    found = [file for folder in folders for file in folder.glob(f"test_{path.stem}*.py")]
    return sorted({str(file) for file in found})


# ---- mutants --------------------------------------------------------------------------------


def drawn(modules: Sequence[str], sample: int, seed: int) -> list[Mutant]:
    """One mutant of each of `sample` places, by module."""
    from cosmic_ray.commands.init import init
    from cosmic_ray.work_db import WorkDB, use_db

    with use_db("mutants.sqlite", WorkDB.Mode.create) as database:
        init([Path(module) for module in modules], database, {})
        every = [item.mutations[0] for item in database.work_items]
    spared = {module: list(unread(Path(module))) for module in modules}
    places: dict[tuple[str, int, int], list[Mutant]] = {}
    for one in every:
        module, place = one.module_path.as_posix(), one.start_pos
        if not any(start <= place < end for start, end in spared[module]):
            mutant = Mutant(module, *place, one.operator_name, one.occurrence)
            places.setdefault((module, *place), []).append(mutant)
    dice = random.Random(seed)
    chosen = dice.sample(sorted(places), min(sample, len(places)))
    return sorted(dice.choice(sorted(places[place])) for place in chosen)


Span = tuple[tuple[int, int], tuple[int, int]]


def unread(module: Path) -> Iterator[Span]:
    """Where a change changes nothing that runs: annotations, and imports for them."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        kept: list[Any] = []
        if isinstance(node, (ast.AnnAssign, ast.arg)):
            kept = [node.annotation]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            kept = [node.returns]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            kept = [node]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "cast":
            kept = node.args[:1]
        for part in filter(None, kept):
            yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


# ---- trying ---------------------------------------------------------------------------------


def run(
    mutants: Iterable[Mutant], tests: dict[str, list[str]], out: Path, until: float
) -> list[dict[str, Any]]:
    """What became of each mutant, as long as there is time; those of an earlier run are taken."""
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_item import MutationSpec

    out.parent.mkdir(parents=True, exist_ok=True)
    lines = out.read_text().splitlines() if out.is_file() else []
    before = {line["key"]: line for line in map(json.loads, lines)}
    taken: dict[tuple[str, ...], float] = {}
    tried = []
    for mutant in mutants:
        if mutant.key in before:
            tried.append(before[mutant.key])
            continue
        command = f"{sys.executable} {PYTEST} {' '.join(tests[mutant.module])}"
        group = tuple(tests[mutant.module])
        if group not in taken:
            taken[group] = seconds_of(command)
        if time.monotonic() > until:
            break
        place = (mutant.line, mutant.column)
        spec = MutationSpec(
            mutant.module, mutant.operator, mutant.occurrence, place, (mutant.line + 1, 0)
        )
        began = time.monotonic()
        result = mutate_and_test([spec], command, 3 * taken[group] + SLOWEST)
        line = {
            "key": mutant.key,
            "outcome": result.test_outcome.value if result.test_outcome else BROKEN,
            "seconds": round(time.monotonic() - began, 1),
            "diff": result.diff or "",
        }
        with out.open("a") as kept:
            print(json.dumps(line), file=kept)
        print(f"{line['outcome']:<12}{line['seconds']:>6} s  {mutant.key}", flush=True)
        tried.append(line)
    return tried


def seconds_of(command: str) -> float:
    """How long tests take on the code as it is, on which they must pass."""
    began = time.monotonic()
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"These tests fail without a mutant: {command}\n{done.stdout[-2000:]}")
    return time.monotonic() - began


def told(tried: Sequence[dict[str, Any]], planned: int) -> int:
    """Print the figures and every survivor; 1 if there is one."""
    counts = Counter(line["outcome"] for line in tried)
    for line in tried:
        if line["outcome"] == SURVIVED:
            print(f"\nsurvived: {line['key']}\n{line['diff']}")
    print(
        f"\n{len(tried)} of {planned} mutants tried: {counts[KILLED]} killed, {counts[SURVIVED]} "
        f"survived, {counts[BROKEN]} could not be made."
    )
    return 1 if counts[SURVIVED] else 0


if __name__ == "__main__":
    raise SystemExit(main())
