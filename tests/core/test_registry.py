"""The registry, against fake distributions written to a folder, and as the command line shows it.

A fake distribution is a module and a `*.dist-info` folder with METADATA and entry_points.txt, as
an installer would leave them.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vqazoo.errors import ConfigError, PluginError, UnknownNameError
from vqazoo.registry import KINDS, Registry, group

FUSION = """
from vqazoo.manifests import Arg, FusionManifest
loads.append("manifest")
MANIFEST = FusionManifest(
    summary="made up", build="{module}_part:Made", requires=frozenset(), provides="pooled",
    args={{"width": Arg(int, 8, "width"), "mode": Arg(str, "a", "which", choices=("a", "b"))}},
)
"""
PART = """
from vqazoo.interfaces import Fusion
class Made(Fusion):
    def __init__(self, *context, **args):
        super().__init__()
        self.context, self.given = context, args
    def forward(self, image, question):
        return image
"""

Install = Callable[..., str]


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Install]:
    """Write a fake distribution and put it on sys.path; returns the name of its module."""
    before = set(sys.modules)

    def write(
        distribution: str,
        entry_points: str,
        source: str = FUSION,
        part: str = PART,
        metadata: str | None = None,
    ) -> str:
        site = tmp_path / f"site-{distribution}"
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        module = f"fake_{distribution.replace('-', '_')}_{abs(hash(request.node.nodeid))}"
        name = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        (info / "METADATA").write_text(name if metadata is None else metadata)
        (info / "entry_points.txt").write_text(entry_points.format(module=module))
        # `loads` counts imports, in a file, so that other processes can be watched too.
        counting = (
            "class loads:\n    def append(what):\n"
            f"        with open({str(tmp_path / 'loads')!r}, 'a') as counted:\n"
            "            counted.write(what)\n"
        )
        (site / f"{module}.py").write_text(counting + source.format(module=module))
        (site / f"{module}_part.py").write_text(part)
        monkeypatch.syspath_prepend(str(site))
        path = os.environ.get("PYTHONPATH", "")
        monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{path}" if path else str(site))
        return module

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


def entry(name: str = "made", kind: str = "fusion", attribute: str = "MANIFEST") -> str:
    return f"[{group(kind)}]\n{name} = {{module}}:{attribute}\n"


def vqazoo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a fresh process."""
    code = "from vqazoo.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


def last_line(process: subprocess.CompletedProcess[str]) -> str:
    return process.stderr.strip().splitlines()[-1]


# ---- three levels of cost -------------------------------------------------------------------


def test_names_run_no_plugin_code_manifests_no_part(install: Install, tmp_path: Path) -> None:
    module = install("lazy-dist", entry())
    registry = Registry()
    assert "made" in registry.names("fusion")
    assert [str(p) for n, p in registry.providers("fusion") if n == "made"] == ["lazy-dist 1.2"]
    assert not (tmp_path / "loads").exists()
    assert module not in sys.modules
    assert registry.manifest("fusion", "made").summary == "made up"
    assert module in sys.modules
    assert f"{module}_part" not in sys.modules
    registry.manifest("fusion", "made")
    registry.build("fusion", "made")
    assert f"{module}_part" in sys.modules
    assert (tmp_path / "loads").read_text() == "manifest"  # imported once


def test_metadata_is_read_once_and_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(**given: str) -> importlib.metadata.EntryPoints:
        calls.append(given)
        return importlib.metadata.entry_points(**given)

    monkeypatch.setattr("vqazoo.registry.entry_points", counted)
    registry = Registry()
    assert calls == []
    for _ in range(3):
        registry.names("head")
        registry.names("fusion")
    assert len(calls) == 1  # each reads a file of every distribution


def test_build_passes_context_given_arguments_and_defaults(install: Install) -> None:
    install("building-dist", entry())
    registry = Registry()
    built = registry.build("fusion", "made", "first", "second", mode="b")
    assert built.context == ("first", "second")
    assert built.given == {"width": 8, "mode": "b"}
    for wrong, said in (
        ({"widht": 3}, r"has no argument 'widht'\. Did you mean 'width'\?"),
        ({"width": "3"}, "'width' is '3', but int was expected"),
        ({"width": True}, "'width' is True"),
        ({"mode": "c"}, "'mode' is 'c', but it must be one of 'a', 'b'"),
    ):
        with pytest.raises(ConfigError, match=said):
            registry.build("fusion", "made", **wrong)


# ---- broken plugins -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import surely_absent_module", "ModuleNotFoundError: No module named 'surely_absent"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        (
            "from vqazoo.losses import class_loss",
            "has moved, see 'Import paths that moved'",
        ),
        ("def (:", "SyntaxError"),
        ("", "AttributeError"),  # the entry point names nothing
    ],
)
def test_a_broken_import_is_told_only_to_who_asks(install: Install, source: str, said: str) -> None:
    install("broken-dist", entry(), source)
    registry = Registry()
    assert "made" in registry.names("fusion")
    with pytest.raises(PluginError) as caught:
        registry.manifest("fusion", "made")
    assert said in str(caught.value)
    assert "of broken-dist 1.2 cannot be imported" in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("import surely_absent_module", "importing '.*_part:Made' failed .ModuleNotFoundError"),
        ("raise SystemExit(3)", "importing '.*' failed .SystemExit: 3"),
        ("", "importing '.*' failed .AttributeError"),
        ("class Made: pass", r"should be a vqazoo\.interfaces\.Fusion, but '.*' is <class"),
        ("from vqazoo.interfaces import Fusion\ndef Made(): pass", "is <function Made"),
        ("from vqazoo.interfaces import Head as Made", "is <class 'vqazoo.interfaces.heads.Head'"),
    ],
)
def test_a_part_that_is_not_what_it_claims_is_refused_when_built(
    install: Install, part: str, said: str
) -> None:
    install("lying-dist", entry(), part=part)
    registry = Registry()
    assert registry.manifest("fusion", "made").summary == "made up"
    with pytest.raises(PluginError, match=said) as caught:
        registry.build("fusion", "made")
    assert "of lying-dist 1.2" in str(caught.value)


def test_a_manifest_of_another_kind_is_refused(install: Install) -> None:
    install("confused-dist", entry(kind="head") + entry("text", "encoder", "__name__"))
    registry = Registry()
    with pytest.raises(PluginError, match="should be a HeadManifest, but it is a FusionManifest"):
        registry.manifest("head", "made")
    with pytest.raises(PluginError, match="should be an EncoderManifest, but it is a str"):
        registry.manifest("encoder", "text")


def test_a_distribution_with_damaged_metadata_does_not_stop_the_others(install: Install) -> None:
    install("nameless-dist", entry("nameless"), metadata="")
    registry = Registry()
    assert "nameless" in registry.names("fusion")
    assert registry.manifest("fusion", "nameless").summary == "made up"
    assert "easy-vqa" in registry.names("dataset")


@pytest.mark.parametrize("name", ["hub", "dir"])
def test_reserved_names_are_refused(install: Install, name: str) -> None:
    install("greedy-dist", entry(name))
    with pytest.raises(PluginError, match="neither 'hub' nor 'dir'"):
        Registry().manifest("fusion", name)


# ---- collisions -----------------------------------------------------------------------------


def test_a_collision_names_both_and_the_distribution_chooses(install: Install) -> None:
    install("dist-one", entry())
    install("dist-two", entry(), FUSION.replace("made up", "the other"))
    registry = Registry()
    assert registry.names("fusion").count("made") == 1
    with pytest.raises(PluginError) as caught:
        registry.manifest("fusion", "made")
    for said in ("dist-one 1.2", "dist-two 1.2", "'dist-one/made'", "'dist-two/made'"):
        assert said in str(caught.value)
    assert registry.manifest("fusion", "dist-one/made").summary == "made up"
    assert registry.manifest("fusion", "dist-two/made").summary == "the other"
    assert registry.manifest("fusion", "Dist_Two/made").summary == "the other"
    with pytest.raises(UnknownNameError, match=r"provided by .*dist-one 1.2.*, not 'dist-three'"):
        registry.manifest("fusion", "dist-three/made")


def test_built_in_parts_do_not_win_a_collision(install: Install) -> None:
    install("shadow-dist", entry("easy-vqa", "dataset"))
    with pytest.raises(PluginError, match="'vqazoo/easy-vqa'"):
        Registry().provider("dataset", "easy-vqa")
    assert Registry().component("dataset", "vqazoo/easy-vqa").__name__ == "EasyVQA"


def test_one_distribution_found_twice_is_no_collision(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("doubled-dist", entry())
    monkeypatch.syspath_prepend(sys.path[0] + os.sep)
    assert Registry().manifest("fusion", "made").summary == "made up"


def test_the_variable_limits_what_is_found(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("dist-one", entry())
    install("dist-two", entry())
    monkeypatch.setenv("VQAZOO_PLUGINS", "vqazoo, Dist_One")
    registry = Registry()
    assert registry.manifest("fusion", "made").summary == "made up"
    assert "easy-vqa" in registry.names("dataset")
    monkeypatch.setenv("VQAZOO_PLUGINS", "dist-two")
    assert Registry().names("fusion") == ["made"]
    with pytest.raises(UnknownNameError, match="VQAZOO_PLUGINS limits what is found"):
        Registry().provider("dataset", "easy-vqa")
    monkeypatch.setenv("VQAZOO_PLUGINS", "")
    assert all(Registry().names(kind) == [] for kind in KINDS)


# ---- as the command line shows it -----------------------------------------------------------


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    return vqazoo("train", "--dry-run", *arguments)


def test_a_misspelt_part_is_suggested_in_every_position() -> None:
    good = {"--encoder": "tiny-clip", "--head": "lstm", "--data": "easy-vqa", "--fusion": "gated"}
    wrong = {"--encoder": "tiny-clop", "--head": "ltsm", "--data": "easy-vwa", "--fusion": "gatet"}
    for option, kind in (
        ("--encoder", "encoder"),
        ("--head", "head"),
        ("--data", "dataset"),
        ("--fusion", "fusion"),
    ):
        process = train(*(w for o in good for w in (o, wrong[o] if o == option else good[o])))
        assert process.returncode == 1
        assert last_line(process) == (
            f"Error: Unknown {kind} '{wrong[option]}'. Did you mean '{good[option]}'? "
            f"Run 'vqazoo list {kind}s' to see all."
        )
        assert "Traceback" not in process.stderr


def test_a_name_of_another_kind_is_recognised() -> None:
    process = train("--encoder", "lstm", "--head", "lstm", "--data", "easy-vqa")
    assert process.returncode == 1
    assert "Unknown encoder 'lstm'. 'lstm' is a head, not an encoder." in last_line(process)
    process = train("--encoder", "tiny-clip", "--head", "easy-vka", "--data", "easy-vqa")
    assert "Unknown head 'easy-vka'. Did you mean the dataset 'easy-vqa'?" in last_line(process)


def test_a_broken_plugin_does_not_hurt_help_list_or_other_parts(install: Install) -> None:
    commands = entry("shout", "command") + "\n" + entry("whisper", "command", "NONE")
    install("broken-dist", entry() + commands, "raise RuntimeError('boom')")
    helped = vqazoo("--help")
    assert helped.returncode == 0
    assert "shout" in helped.stdout
    assert "(broken: run 'vqazoo plugins' to see why)" in helped.stdout
    listed = vqazoo("list")
    assert listed.returncode == 0
    (line,) = (line for line in listed.stdout.splitlines() if line.split()[:1] == ["made"])
    assert line.split(maxsplit=3)[:3] == ["made", "broken-dist", "1.2"]
    assert "(broken: run 'vqazoo plugins'" in line
    run = vqazoo("shout")
    assert run.returncode == 1
    assert last_line(run).startswith("Error: The command 'shout' of broken-dist 1.2 cannot be")
    assert "boom" in last_line(run)
    assert "Traceback" not in run.stderr


def test_plugins_shows_each_part_and_why_it_cannot_be_used(install: Install) -> None:
    install("broken-dist", entry("cracked"), "raise RuntimeError('boom')")
    install("lying-dist", entry("liar"), part="class Made: pass")
    install("dist-one", entry("twice"))
    install("dist-two", entry("twice") + entry("fine"))
    shown = vqazoo("plugins")
    assert shown.returncode == 1
    problem = {}
    for line in shown.stdout.splitlines():
        if line.startswith(" "):
            _, name, problem[name] = line.split(maxsplit=2)
    assert "boom" in problem["cracked"]
    assert "should be a vqazoo.interfaces.Fusion" in problem["liar"]
    assert "'dist-one/twice' or 'dist-two/twice'" in problem["twice"].replace(
        "'dist-two/twice' or 'dist-one/twice'", "'dist-one/twice' or 'dist-two/twice'"
    )
    assert problem["fine"] == problem["easy-vqa"] == "ok"
    quick = vqazoo("plugins", "--quick")
    assert quick.returncode == 1
    assert "liar" in quick.stdout
    assert "should be a" not in quick.stdout


def test_plugins_ends_with_zero_when_all_parts_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQAZOO_PLUGINS", "")
    shown = vqazoo("plugins")
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "VQAZOO_PLUGINS='' limits what is found" in shown.stderr


COMMAND = """
from vqazoo.manifests import CommandManifest
MANIFEST = CommandManifest(summary="Says hello.", build="{module}_part:hello")
"""
HELLO = """
import click
@click.command()
@click.option("--name", default="you")
def hello(name):
    click.echo(f"hello {name}")
"""


def test_a_plugin_adds_a_verb_but_cannot_take_a_built_in_one(install: Install) -> None:
    commands = "[vqazoo.commands]\nsay-hello = {module}:MANIFEST\nlist = {module}:MANIFEST\n"
    install("verb-dist", commands, COMMAND, HELLO)
    helped = vqazoo("--help")
    assert "say-hello" in helped.stdout
    assert "Says hello." in helped.stdout
    assert vqazoo("say-hello", "--name", "zoo").stdout == "hello zoo\n"
    assert vqazoo("Say_Hello").stdout == "hello you\n"
    assert "datasets:" in vqazoo("list").stdout
    shown = vqazoo("plugins", "--quick")
    assert shown.returncode == 1
    assert "broken: 'list' is a built-in command" in shown.stdout
    wrong = vqazoo("say-helo")
    assert wrong.returncode == 2
    assert "Did you mean 'say-hello'?" in wrong.stderr


def test_a_verb_that_is_no_command_is_refused(install: Install) -> None:
    install("verb-dist", entry("say-hello", "command"), COMMAND, "hello = print")
    run = vqazoo("say-hello")
    assert run.returncode == 1
    assert "should be a click.core.Command" in last_line(run)
