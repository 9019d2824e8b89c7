"""A page says which question it answers; its jargon is explained; the list of pages has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, all_pages, prose

PAGES = [page for page in all_pages() if page.startswith("docs/")]
GLOSSARY = "docs/reference/glossary.md"
LINK = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")


def text_of(page: str) -> str:
    """A page, or the file that it includes whole."""
    text = (ROOT / page).read_text(encoding="utf-8")
    included = re.match(r"```\{include\} (\S+)", text)
    return ((ROOT / page).parent / included[1]).read_text("utf-8") if included else text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_with_the_question_that_it_answers(page: str) -> None:
    title, after = text_of(page).split("\n", 1)
    first = " ".join(after.strip().split("\n\n")[0].split())
    sentence = re.match(r"[^.?!]*(?:`[^`]*`[^.?!]*)*\?", first.lstrip("*"))
    assert title.startswith("# ")
    assert title.endswith("?") or sentence, "write the question in the reader's words first"


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_what_only_the_whole_card_holds_is_said_with_its_flag(page: str) -> None:
    """`vqazoo info NAME` prints how a card begins."""
    for sentence in re.split(r"(?<=[.:])\s", text_of(page)):
        if "`vqazoo info" in sentence and re.search(r"\bcards?\b|every metric", sentence):
            assert "--all" in sentence, sentence


def terms() -> list[str]:
    """The anchors of the words that the glossary explains."""
    headings = re.findall(r"^## (.+)$", (ROOT / GLOSSARY).read_text("utf-8"), re.MULTILINE)
    assert headings == sorted(headings, key=str.casefold)
    return [heading.casefold().replace(" ", "-") for heading in headings]


def links_to_the_glossary() -> dict[str, set[str]]:
    """The words that each other page links to."""
    found: dict[str, set[str]] = {}
    for page in all_pages():
        for target, anchor in LINK.findall(prose(page)):
            if page != GLOSSARY and ((ROOT / page).parent / target).resolve() == ROOT / GLOSSARY:
                found.setdefault(page, set()).add(anchor)
    return found


def test_each_word_of_the_glossary_is_linked_to_and_each_link_has_its_word() -> None:
    linked = set().union(*links_to_the_glossary().values())
    assert set(terms()) == linked


def test_words_that_a_newcomer_cannot_know_are_linked_where_they_come_up() -> None:
    """On pages where they are said."""
    needed = {
        "docs/learn/tour.md": {"fusion", "head", "encoder", "frozen"},
        "docs/reference/contracts.md": {"fusion", "head", "tower", "pooled", "prefix"},
        "docs/reference/metrics.md": {"signature", "risk-and-coverage", "constant-answer"},
        "docs/about/results.md": {"constant-answer", "question-only"},
    }
    linked = links_to_the_glossary()
    missing = {page: words - linked[page] for page, words in needed.items() if words - linked[page]}
    assert not missing


def test_every_page_is_reached_from_the_list_of_pages() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        trees = re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
        for line in "\n".join(trees).splitlines():
            if line and not line.startswith(":"):
                waiting.append((page.parent / line).with_suffix(".md"))
    assert {ROOT / page for page in PAGES} == reached
