"""One HTML page about a model's mistakes: no script, nothing fetched. Imports Pillow and numpy."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

from PIL import Image

from vqazoo.data.answers import select_answer
from vqazoo.errors import ImageError
from vqazoo.evaluation.mistakes.groups import MISTAKE, Confusion, Group, Grouping, Mistakes
from vqazoo.evaluation.mistakes.html import Html, tag
from vqazoo.media.video import still

THUMBNAIL = 160  # longer side of an embedded picture, in pixels
QUALITY = 80  # of JPEG
MOST_BYTES = 4 << 20  # of all embedded pictures, before base64
SHOWN = 4  # mistakes of a group
MOST_GROUPS = 12  # of a grouping that show mistakes; the others stand in the table only
LONGEST = 300  # characters of a question or answer that are shown

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 70rem; margin: 0 auto; padding: 1rem; }
a { color: #4a148c; }
a:focus, summary:focus { outline: 3px solid #4a148c; outline-offset: 2px; }
h1 { margin-bottom: 0; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid #d8cbe3; }
table { border-collapse: collapse; margin: .5rem 0 1rem; }
caption { text-align: left; color: #444; padding-bottom: .3rem; }
th, td { padding: .25rem .75rem; text-align: left; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }
th[scope="row"] { min-width: 8rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
.bar { display: block; height: .8rem; background: #7b3fa0; min-width: 1px; }
td.scale { width: 9rem; min-width: 5rem; vertical-align: middle; }
details { margin: .4rem 0; }
summary { cursor: pointer; padding: .2rem 0; }
ul.shown { display: flex; flex-wrap: wrap; gap: 1rem; list-style: none; padding: 0; }
ul.shown li { width: 160px; overflow-wrap: anywhere; font-size: .9rem; }
ul.shown img, .absent { display: block; background: #eee; margin-bottom: .3rem; }
ul.shown img { width: 160px; height: auto; }
.absent { width: 160px; padding: 1rem 0; text-align: center; color: #444; }
.given { color: #a3140f; font-weight: 600; }
.expected { color: #0a5c29; font-weight: 600; }
.lead { font-size: 1.2rem; }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


def write_page(mistakes: Mistakes, note: str = "", pictures: bool = True) -> str:
    """A whole HTML page of mistakes, which needs no other file.

    Args:
        note: about passing the page on, such as the licence of the pictures.
        pictures: whether small copies are embedded, up to MOST_BYTES of them all.
    """
    return _Page(mistakes, note, pictures).whole()


class _Page:
    """The page while it is written; it counts what its pictures take."""

    def __init__(self, mistakes: Mistakes, note: str, pictures: bool) -> None:
        self.mistakes = mistakes
        self.note = note
        self.pictures = pictures
        self.bytes_left = MOST_BYTES
        self.thumbnails: dict[Path, bytes] = {}

    def whole(self) -> str:
        found = self.mistakes
        sections = [self._section(number, one) for number, one in enumerate(found.groupings)]
        title = f"Mistakes of {found.model} on {found.data}"
        head = tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Html(STYLE)),
        )
        main = tag(
            "main",
            tag("h1", title),
            *self._overview(),
            self._contents(),
            *sections,
            self._confusions(),
        )
        return f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n"

    # ---- overview ---------------------------------------------------------------------------

    def _overview(self) -> list[Html]:
        found = self.mistakes
        told = (
            f"{found.count:,} of {len(found.scores):,} answers on the split '{found.split}' are "
            f"mistakes; {found.measure} is {found.score:.2%}."
        )
        how = (
            f"An answer is a mistake if it scores less than {MISTAKE:.0%}. The cost of a group is "
            f"how many percentage points the {found.measure} would rise if all its questions were "
            f"answered right; groups that cost most come first."
        )
        parts = [tag("p", told, class_="lead"), tag("p", how)]
        return [*parts, tag("p", self.note)] if self.note else parts

    def _contents(self) -> Html:
        links = [
            tag("li", tag("a", grouping.title, href=f"#group-{number}"))
            for number, grouping in enumerate(self.mistakes.groupings)
        ]
        links.append(tag("li", tag("a", "Most frequent confusions", href="#confusions")))
        return tag("nav", tag("ul", *links), aria_label="On this page")

    def _confusions(self) -> Html:
        return tag(
            "section",
            tag("h2", "Most frequent confusions", id="confusions"),
            _confusion_table(self.mistakes.confusions, "Of all mistakes."),
        )

    # ---- groups -----------------------------------------------------------------------------

    def _section(self, number: int, grouping: Grouping) -> Html:
        shown = [group for group in grouping.groups if group.mistakes][:MOST_GROUPS]
        return tag(
            "section",
            tag("h2", grouping.title, id=f"group-{number}"),
            self._table(grouping),
            *(self._details(group, opened=place == 0) for place, group in enumerate(shown)),
        )

    def _table(self, grouping: Grouping) -> Html:
        headings = ("group", "questions", "mistakes", self.mistakes.measure, "against all", "cost")
        heads = [
            tag("th", heading, scope="col", **({"class_": "number"} if place else {}))
            for place, heading in enumerate(headings)
        ]
        most = max((group.cost for group in grouping.groups), default=0.0)
        rows = [self._row(group, most) for group in grouping.groups]
        table = tag(
            "table",
            tag("caption", grouping.about),
            tag("thead", tag("tr", *heads, tag("td", class_="scale"))),
            tag("tbody", *rows),
        )
        return tag(
            "div",
            table,
            class_="wide",
            tabindex="0",
            role="region",
            aria_label=f"Table: {grouping.title}",
        )

    def _row(self, group: Group, most: float) -> Html:
        numbers = (
            f"{group.questions:,}",
            f"{len(group.mistakes):,}",
            f"{group.score:.1%}",
            f"{100 * (group.score - self.mistakes.score):+.1f}",
            f"{100 * group.cost:.2f}",
        )
        width = 100 * group.cost / most if most else 0.0
        bar = tag("span", class_="bar", style=f"width: {width:.1f}%") if group.cost else Html("")
        return tag(
            "tr",
            tag("th", tag("bdi", _short(group.name)), scope="row"),
            *(tag("td", value, class_="number") for value in numbers),
            tag("td", bar, class_="scale"),
        )

    def _details(self, group: Group, opened: bool) -> Html:
        shown = group.mistakes[:SHOWN]
        told = f": {len(shown)} of {len(group.mistakes):,} mistakes"
        inside = [
            tag("summary", tag("bdi", _short(group.name)), told),
            tag("ul", *(self._mistake(row) for row in shown), class_="shown"),
            _confusion_table(group.confusions, "Most frequent confusions of this group."),
        ]
        return tag("details", *inside, **({"open": "open"} if opened else {}))

    def _mistake(self, row: int) -> Html:
        example, answer = self.mistakes.examples[row], self.mistakes.answers[row]
        sure = "" if math.isnan(answer.score) else f" ({answer.score:.0%} sure)"
        return tag(
            "li",
            self._picture(example.image),
            tag("div", tag("bdi", _short(example.question))),
            tag("div", "said ", tag("bdi", _short(answer.text or "nothing"), class_="given"), sure),
            tag(
                "div",
                "right: ",
                tag("bdi", _short(select_answer(example.answers)), class_="expected"),
            ),
        )

    def _picture(self, file: Path) -> Html:
        if not self.pictures:
            return Html("")
        content = self.thumbnails.get(file)
        if content is None:
            try:
                content = self.thumbnails[file] = _thumbnail(file)
            except ImageError:
                return tag("div", "no picture", class_="absent")
        if len(content) > self.bytes_left:
            return tag("div", "left out: the page is full", class_="absent")
        self.bytes_left -= len(content)
        source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        return tag("img", src=source, alt=f"Picture {_short(file.name)}")


def _confusion_table(confusions: tuple[Confusion, ...], about: str) -> Html:
    heads = [tag("th", name, scope="col") for name in ("right answer", "said instead")]
    rows = [
        tag(
            "tr",
            tag("td", tag("bdi", _short(one.expected))),
            tag("td", tag("bdi", _short(one.given or "nothing"))),
            tag("td", f"{one.count:,}", class_="number"),
        )
        for one in confusions
    ]
    return tag(
        "table",
        tag("caption", about),
        tag("thead", tag("tr", *heads, tag("th", "times", scope="col", class_="number"))),
        tag("tbody", *rows),
    )


def _short(words: str) -> str:
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} …"


def _thumbnail(file: Path) -> bytes:
    """A small JPEG of a picture file."""
    picture = still(file)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
