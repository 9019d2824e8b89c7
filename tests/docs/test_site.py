"""The site is built without a warning or a network, and every link in it leads somewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import vqazoo
from tests.docs.pages import ROOT, all_pages, prose

pytestmark = pytest.mark.proof

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload"}


class Page(HTMLParser):
    """What a built page links to, loads, and offers as anchors."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.blind_pictures: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and RELATIONS & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        if given.get(LOADED.get(tag, "")):
            self.loads.append(given[LOADED[tag]])
        if (
            tag == "img"
            and not given.get("alt", "").strip()
            and "sidebar-logo" not in given.get("class", "")
        ):
            self.blind_pictures.append(given.get("src", ""))


@pytest.fixture(scope="module", name="pages")
def parsed_pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


def test_every_page_is_built(site: Path) -> None:
    written = [page for page in all_pages() if page.startswith("docs/")]
    assert all((site / page[5:]).with_suffix(".html").is_file() for page in written)


def test_every_link_and_anchor_of_the_site_leads_somewhere(pages: dict[Path, Page]) -> None:
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchored = parts.fragment in ("", "top") or target not in pages
            if not target.exists() or not (anchored or parts.fragment in pages[target].anchors):
                broken.append(f"{file.name}: {link}")
    assert not broken, "\n".join(sorted(set(broken)))


def test_links_out_of_the_site_are_well_formed(pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert parts.scheme in ("https", "http"), f"{file.name}: {link}"
                assert re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", parts.netloc), (
                    f"{file.name}: {link}"
                )


def test_a_page_loads_nothing_from_the_network(site: Path, pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        foreign = [one for one in page.loads if urlsplit(one).netloc]
        assert not foreign, f"{file.name}: {foreign}"
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text()), (
            sheet.name
        )


def test_every_picture_says_what_it_shows(pages: dict[Path, Page]) -> None:
    assert not [
        (file.name, page.blind_pictures) for file, page in pages.items() if page.blind_pictures
    ]


def test_every_public_name_is_in_the_reference(pages: dict[Path, Page]) -> None:
    anchors = {
        one.rsplit(".", 1)[-1]
        for file, page in pages.items()
        if file.name.startswith("api")
        for one in page.anchors
    }
    assert set(vqazoo.__all__) - anchors <= {"__version__"}


@pytest.mark.parametrize("page", all_pages())
def test_every_link_between_markdown_files_leads_to_a_file(page: str) -> None:
    """As GitHub shows them, where the site has links of its own."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(page)):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
