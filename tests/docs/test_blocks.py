"""Every fenced block of every page: Python runs, commands exist, data files are well formed."""

from __future__ import annotations

import csv
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import click
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from PIL import Image

from tests.docs.pages import ROOT, Block, all_pages, blocks, prose
from vqazoo.cli import vqazoo
from vqazoo.errors import UnknownNameError

LANGUAGES = {"bash", "console", "csv", "json", "math", "python", "sh", "text", "toml", "yaml"}

# Python that is compiled here but not run, by page and by what it says first; the reason is a test
# that runs it elsewhere, or what it needs.
RUN_ELSEWHERE = {
    "docs/reference/parts/": "run with their output compared by the tests of those pages",
    "docs/learn/tour.md": "test_tour.py",
    "docs/how-to/add-a-head.md": "tests/docs/test_tutorials.py",
    "docs/how-to/add-a": "test_plugin_pages.py",
}
CONVERTS = "docs/how-to/local-weights.md"  # which reads a pickle of its own
NEEDS = {
    ("docs/about/families.md", "hub:Salesforce"): "published weights",
    ("docs/how-to/publishing.md", "hub:owner/name"): "the Hub",
    (
        "docs/how-to/serve-decisions.md",
        "OpenAI(",
    ): "a service: tests/plugins/serve/test_decisions.py",
}
BETWEEN = {"|", "&&", "||", ";", ">", "2>", ">>", "&", "<", "do", "then"}  # of commands of a line
LAUNCHERS = {"--no-python", "--no_python"}  # of torchrun and accelerate


def every(*languages: str) -> list[Block]:
    return [one for page in all_pages() for one in blocks(page) if one.language in languages]


def test_every_block_says_its_language() -> None:
    unknown = [
        str(one) for page in all_pages() for one in blocks(page) if one.language not in LANGUAGES
    ]
    assert not unknown


# ---- Python -----------------------------------------------------------------------------------


def reason(block: Block) -> str:
    """Why a block is not run here; empty: it is."""
    for page, why in RUN_ELSEWHERE.items():
        if block.page.startswith(page):
            return why
    for (page, content), why in NEEDS.items():
        if block.page == page and content in block.content:
            return why
    return ""


@pytest.mark.parametrize("block", every("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.content, str(block), "exec")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=pytest.mark.unpickles if p == CONVERTS else ())
        for p in all_pages()
        if any(not reason(b) for b in blocks(p, "python"))
    ],
)
def test_python_runs_from_the_top_of_a_page_to_its_end(
    page: str, tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.png", "photo.jpg"):
        Image.open(picture).save(tmp_path / name)
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        if not reason(block):
            exec(compile(block.content, str(block), "exec"), names)


def test_what_is_left_out_is_there() -> None:
    """A reason for a block that is gone is removed."""
    for page, content in NEEDS:
        assert any(content in one.content for one in blocks(page, "python")), (page, content)


# ---- the command line ---------------------------------------------------------------------------


def invocations(line: str) -> Iterator[list[str]]:
    """The words behind each `vqazoo` that a line of shell runs, launchers included."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # a quote that is closed on another line
        return
    for start, word in enumerate(words):
        before = words[start - 1] if start else "&&"
        runs = before in BETWEEN | LAUNCHERS or "=" in before
        if runs and (word == "vqazoo" or word.endswith("/vqazoo")):
            yield list(takewhile(lambda one: one not in BETWEEN, words[start + 1 :]))


def wrong(words: list[str]) -> str:
    """What the command line itself says against a command before it runs; empty: nothing."""
    command: click.Command = vqazoo
    context = click.Context(command, info_name="vqazoo")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if (found := command.get_command(context, words[0])) is None:
            return "" if words[0] in shown_verbs() else f"there is no verb {words[0]!r}"
        context = click.Context(found, context, info_name=words[0])
        command, words = found, words[1:]
    try:
        command.make_context(command.name, list(words), context.parent)
    except click.exceptions.Exit:  # --help, --version
        return ""
    except click.UsageError as error:
        return "" if "does not exist" in error.format_message() else error.format_message()
    except UnknownNameError as error:
        return "" if shown_parts() & set(words) else str(error)
    return ""


@cache
def shown_points() -> dict[str, set[str]]:
    """Names in each group of entry points of the plugins that pages show how to write."""
    found: dict[str, set[str]] = {}
    for one in every("toml"):
        points = tomllib.loads(one.content).get("project", {}).get("entry-points", {})
        for group, names in points.items():
            found[group] = found.get(group, set()) | set(names)
    return found


def shown_verbs() -> set[str]:
    return shown_points().get("vqazoo.commands", set())


def shown_parts() -> set[str]:
    return {name for names in shown_points().values() for name in names} - shown_verbs()


def commands() -> Iterator[tuple[str, str]]:
    for block in every("sh", "bash", "console"):
        for line in block.content.replace("\\\n", " ").splitlines():
            yield str(block), line.removeprefix("$ ")
    for block in every("text"):
        for line in block.content.splitlines():
            if line.startswith("$ vqazoo "):
                yield str(block), line[2:]


def test_every_command_shown_is_one_that_the_command_line_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # with the file that pages let `vqazoo data init` write
    (tmp_path / "mine.toml").write_text('type = "table"\n[args]\ntrain = "mine.csv"\n')
    problems = []
    for where, line in commands():
        for words in invocations(line):
            if problem := wrong(words):
                problems.append(f"{where}: {line.strip()}: {problem}")
    assert not problems, "\n".join(problems)


def test_every_verb_and_option_named_in_a_sentence_exists() -> None:
    problems = []
    for page in all_pages():
        for said in re.findall(r"`vqazoo ([a-z][^`]*)`", prose(page)):
            words = said.split()
            command = vqazoo.get_command(click.Context(vqazoo), words[0])
            if (
                isinstance(command, click.Group)
                and len(words) > 1
                and words[1].isalpha()
                and words[1].islower()
            ):
                command = command.get_command(click.Context(command), words[1])
            known = {
                o for p in getattr(command, "params", ()) for o in (*p.opts, *p.secondary_opts)
            }
            given = {word.split("=")[0] for word in words if word.startswith("--")}
            if command is None or given - known - {"--help"}:
                problems.append(f"{page}: vqazoo {said}")
    assert not problems, "\n".join(problems)


# ---- data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", every("toml"), ids=str)
def test_toml_parses(block: Block) -> None:
    tomllib.loads(block.content)


@pytest.mark.parametrize("block", every("yaml"), ids=str)
def test_yaml_parses_and_accelerate_reads_its_own(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.content)
    if "distributed_type" in content:
        (tmp_path / "config.yaml").write_text(block.content)
        config = load_config_from_file(str(tmp_path / "config.yaml"))
        assert config.num_processes == content["num_processes"]


@pytest.mark.parametrize("block", every("json"), ids=str)
def test_json_parses_as_a_document_or_as_lines(block: Block) -> None:
    try:
        json.loads(block.content)
    except json.JSONDecodeError:
        for line in block.content.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", every("csv"), ids=str)
def test_rows_of_csv_are_as_wide_as_their_header(block: Block) -> None:
    header, *rows = csv.reader(block.content.splitlines())
    assert rows
    assert all(len(row) == len(header) for row in rows)


def test_tests_that_a_page_names_exist() -> None:
    for page in all_pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
            assert (ROOT / file).is_file(), f"{page}: {file}"
            assert not name or f"def {name}(" in (ROOT / file).read_text(), (
                f"{page}: {file}::{name}"
            )
