"""Templates: texts of strangers stay texts, a forgotten name is an error, files are in order."""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from jinja2.exceptions import TemplateNotFound

from vqazoo.templates import fill

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file
    for folder in ("vqazoo", "plugins")
    for file in (ROOT / folder).rglob("*")
    if file.suffix in (".html", ".md")
    and "{{" in file.read_text(encoding="utf-8")
    and file.parent.name != "page"  # of vqazoo_export: a page as it is
)
HOSTILE = [
    "<script>alert(1)</script>",
    "\" onload='x' & `y` | z",
    "{{ 7 * 7 }} {% raw %} {# #}",
    "</style></title></textarea><img src=x onerror=y>",
]


def made(folder: Path, content: str, name: str = "page.html", **values: object) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return fill(str(folder / "code.py"), name, **values)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_escaped_in_content_and_in_attributes(tmp_path: Path, text: str) -> None:
    page = made(tmp_path, '<p title="{{ text }}">{{ text }}</p>', text=text)
    assert page == f'<p title="{escape(text)}">{escape(text)}</p>'
    assert unescape(page.partition(">")[2].removesuffix("</p>")) == text


@pytest.mark.parametrize(
    "way",
    [
        "{{ 'a ' ~ text }}",
        "{{ text | string }}",
        "{% macro inside(one) %}{{ one }}{% endmacro %}{{ inside(text) }}",
        "{% set kept = text %}{{ kept }}",
        "{{ [text] }}",
        "{{ given() }}",
    ],
)
def test_no_way_through_a_template_leaves_a_text_unescaped(tmp_path: Path, way: str) -> None:
    evil = '<b onclick="x">\u202e'
    page = made(tmp_path, way, text=evil, given=lambda: evil)
    assert "<b" not in page
    assert "\u202e" not in page
    assert "&lt;b onclick=" in page
    assert "&amp;" not in page, "escaped twice"


@pytest.mark.parametrize(
    "one", ["\x00", "\x1b", "\x85", "\u202e", "\u2066", "\U000e0041", "\ud800"]
)
def test_characters_that_no_page_may_hold_are_replaced(tmp_path: Path, one: str) -> None:
    assert made(tmp_path, "{{ text }}", text=f"a{one}b") == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    "text", ["a\n\tb", "dix\u202f000\u00a0€", "می\u200cخواهم", "👩\u200d🔬", "ÿ🙂"]
)
def test_characters_that_people_write_with_stay(tmp_path: Path, text: str) -> None:
    assert made(tmp_path, "{{ text }}", text=text) == text


def test_a_name_that_was_not_given_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="'forgotten' is undefined"):
        made(tmp_path, "{{ forgotten }}")
    with pytest.raises(UndefinedError, match="no attribute 'forgotten'"):
        made(tmp_path, "{{ given.forgotten }}", given={})


def test_a_template_reaches_no_file_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tmp_path / "inside").mkdir()
    with pytest.raises(TemplateNotFound):
        made(tmp_path / "inside", "{% include '../secret' %}")


def test_markdown_is_not_escaped_and_says_amounts_as_everything_else(tmp_path: Path) -> None:
    said = "{{ text }} {{ count(1234) }} {{ percent(0.5, 0) }} {{ size(2500000) }}"
    assert made(tmp_path, said, "card.md", text="a & <b>") == "a & <b> 1,234 50% 2.5 MB"


def test_every_template_leaves_escaping_alone_and_quotes_its_attributes() -> None:
    assert {"page.html", "replies.html", "card.md"} <= {file.name for file in FILES}
    for file in FILES:
        content = file.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*(safe|e|escape|tojson|join|urlize)\b|autoescape", content), file
        assert not re.search(r"=\s*\{\{", re.sub(r"\{%.*?%\}", "", content)), file


def test_nothing_but_the_one_module_makes_markup_or_environments() -> None:
    word = re.compile(
        r"\bMarkup\b|\bjinja2\b|\bmarkupsafe\b|from html import|html\.escape|<(div|td|p|li)\b"
    )
    users = {
        file.relative_to(ROOT).as_posix()
        for folder in ("vqazoo", "plugins")
        for file in (ROOT / folder).rglob("*.py")
        if any(
            word.search(line) and "mports " not in line
            for line in file.read_text(encoding="utf-8").splitlines()
        )
    }
    assert users == {"vqazoo/templates.py"}
