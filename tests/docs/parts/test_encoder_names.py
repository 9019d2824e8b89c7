"""The names of encoders are those that the libraries list, and the page has them all."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.whole.catalogues import encoder_names

CONTENT = {
    kind: json.loads(file.read_text(encoding="utf-8")) for kind, file in encoder_names.FILES.items()
}


def test_the_page_is_made_of_the_files():
    assert encoder_names.PAGE.read_text(encoding="utf-8") == encoder_names.page(CONTENT)


@pytest.mark.parametrize("kind", encoder_names.FILES)
def test_the_files_are_what_the_library_lists(kind):
    library = encoder_names.LIBRARIES[kind]
    pytest.importorskip({"open_clip_torch": "open_clip"}.get(library, library))
    made_with = f"{library} {version(library)}"
    if CONTENT[kind]["made with"] != made_with:
        pytest.skip(f"made with {CONTENT[kind]['made with']}, but {made_with} is installed")
    assert CONTENT[kind]["names"] == encoder_names.MAKERS[kind]()
