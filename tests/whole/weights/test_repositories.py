"""Every repository of weights that is named anywhere stands on the page that says what it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import open_clip
import timm

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/how-to/repositories.md"
PLACES = ("vqazoo", "plugins", "docs", "model_cards", "README.md", "CONTRIBUTING.md")
ENDINGS = (".py", ".md", ".toml", ".json", ".ipynb")
REPO = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
NAMED = re.compile(rf"\b(?:hub|hf-(?!hub)[a-z0-9]+|hf-hub):({REPO})")
# Placeholders, folders and repositories of models that the reader is to make.
NOBODYS = re.compile(r"(OUT|runs|OWNER|owner|org|me|acme|tester|D|SOMEBODY)/.*", re.IGNORECASE)
# Generated lists of what libraries know by name, which say themselves that nothing was fetched.
CATALOGUES = re.compile(r"(names(_\w+)?[.]json|encoders/names[.]md)$")
OTHERS = {"microsoft/GenerativeImage2Text", "facebook/textvqa"}  # code on GitHub, a data set


def texts() -> Iterator[tuple[Path, str]]:
    for place in PLACES:
        top = ROOT / place
        files = [top] if top.is_file() else sorted(top.rglob("*"))
        for file in files:
            if file.suffix in ENDINGS and file != PAGE and not CATALOGUES.search(str(file)):
                yield file, file.read_text(encoding="utf-8")


def listed() -> set[str]:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {re.match(rf"\| `({REPO})`", row)[1] for row in rows}


def named() -> dict[str, Path]:
    """Repositories by name, with a file that names each."""
    found: dict[str, Path] = {}
    owners = "|".join(sorted({repo.split("/")[0] for repo in listed()}))
    known = re.compile(rf"(?<![\w/.-])((?:{owners})/[A-Za-z0-9][\w.-]*)")
    for file, text in texts():
        for repo in (*NAMED.findall(text), *known.findall(text)):
            repo = repo.rstrip(".").removesuffix("...")
            cut = repo == "timm/tf_efficientnet_lite"  # where the code puts a number behind it
            if not NOBODYS.fullmatch(repo) and repo not in OTHERS and not cut:
                found[repo] = file
        for architecture, tag in re.findall(r"open-clip:([\w-]+)@([a-z]\w+)\b(?!\.safe)", text):
            said = open_clip.get_pretrained_cfg(architecture, tag)
            if said:
                found[said["hf_hub"].rpartition("/")[0]] = file
        for model in re.findall(r"timm:(\w+\.\w+)\b(?!\.safe)", text):
            if timm.is_model(model):
                found[timm.get_pretrained_cfg(model).hf_hub_id] = file
    return found


def test_every_repository_that_is_named_is_on_the_page():
    lacking = {repo: str(file) for repo, file in named().items() if repo not in listed()}
    assert not lacking
    assert len(named()) > 15  # the search above finds some


def test_abbreviated_rows_of_the_families_are_on_the_page_too():
    said = (ROOT / "docs/about/families.md").read_text()
    for owner, names in re.findall(r"^\| `(Salesforce|microsoft|dandelin)/([^|]*)\|", said, re.M):
        whole = ""
        for name in (part.strip("` ") for part in names.split(",")):
            whole = whole.rpartition("-")[0] + name if name.startswith("-") else name
            assert "*" in whole or f"{owner}/{whole}" in listed()


def test_no_example_needs_a_file_that_is_known_to_be_absent():
    for file, text in texts():
        assert "openai/clip-vit-base-patch32" not in text, file
