"""The page of verbs and options is what the commands say."""

from __future__ import annotations

from tests.docs.cli_page import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run  python -m tests.docs.cli_page"


def test_every_verb_has_a_section_of_its_own() -> None:
    text = page()
    for verb in ("train", "eval", "data prepare", "serve", "pretrain-tiny-clip"):
        assert f"\n## vqazoo {verb}\n" in text
