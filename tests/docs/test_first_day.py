"""The page of a first day shows what its commands print."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.first_day import FROM_SUGGEST, INSTALL, STEPS, walk
from tests.docs.first_day_page import PAGE
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_tour import NUMBER, agrees, shown_lines
from tests.support.terminal import left_on_screen

SHOWN = blocks(str(PAGE.relative_to(ROOT)))
# What differs from one run to the next: times and rates, digests, the rules of tables.
CHANGING = re.compile(
    r"[\d.,]+ (?:seconds?|minutes|hours|questions/s)|\"time\": \"[^\"]*\"|\b[0-9a-f]{16,}\b|─+"
    r"|\"ms\": [\d.]+|\[\d+\]"
)


def test_a_terminal_keeps_what_was_not_erased() -> None:
    bar = "\x1b[?25lepoch 1 ━━ 0/3\r\x1b[2Kepoch 1 ━━ 3/3\r\n\x1b[?25h\r\x1b[1A\x1b[2K"
    assert left_on_screen(f"before\r\n{bar}\x1b[36mafter\x1b[0m \r\n") == "before\nafter"


def test_the_page_has_the_steps_of_the_day_in_their_order() -> None:
    wanted = [step.command.format(port=8000) for step in (*INSTALL, *STEPS)]
    commands = [one.content.strip() for one in SHOWN if one.language == "sh"]
    commands = [line for line in commands if not line.startswith("curl ")]
    for command, step in zip(commands, wanted, strict=True):
        assert command == step or (step == FROM_SUGGEST and command.startswith("vqazoo train "))


@pytest.mark.usefixtures("socket_enabled")  # a service is asked
@pytest.mark.apart
def test_the_day_goes_as_the_page_tells(tmp_path: Path) -> None:
    """Numbers may differ as on the tour: training on other machines ends a little elsewhere."""
    daquar = Path(os.environ.get("VQAZOO_TEST_DATA", ""), "daquar")
    if not os.environ.get("VQAZOO_TEST_DATA") or not daquar.is_dir():
        pytest.skip("VQAZOO_TEST_DATA names no folder with daquar")
    # The installation is not done again: it needs a network and a quarter of an hour.
    first = next(one.line for one in SHOWN if one.content.startswith("vqazoo "))
    told = [one for one in SHOWN if one.language == "text" and one.line > first]
    for one in walk(daquar, tmp_path):
        assert one.step.service or one.seen.status == 0, one.seen.text
        compare(told.pop(0), one.seen.text)
        if one.step.asking:
            compare(told.pop(0), one.answered)
    assert not told


def compare(block: Block, said: str) -> None:
    """The same words, wherever a table wraps them, and scores that are near.

    A table wraps within words, too, where the numbers beside them leave less room: then the letters
    are the same.
    """
    if words(said) != words(block.content):
        assert letters(said) == letters(block.content), block
    shown, now = (scores(text) for text in (block.content, said))
    for line, other in zip(shown, now, strict=True):
        assert agrees(line, other), f"{block}: {line} is now {other}"


def words(text: str) -> Counter[str]:
    return Counter(NUMBER.sub("0", CHANGING.sub("", text)).split())


def letters(text: str) -> Counter[str]:
    return Counter("".join(words(text).elements()))


def scores(text: str) -> list[tuple[str, list[float]]]:
    return shown_lines("\n".join(one for one in text.splitlines() if one.startswith("accuracy ")))
