"""The page of the interface is the one that was made before there were templates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.markup import golden, without_blanks
from vqazoo_serve import page

EVIL = "<script>alert('1')</script> & \"more\""


def document(evil: str) -> dict[str, Any]:
    """An OpenAPI document with every kind of field that the page tells apart."""
    answer = {
        "required": ["text"],
        "properties": {
            "text": {"type": "string", "maxLength": 1000000, "description": evil},
            "score": {"type": "number", "minimum": 0, "maximum": 1.5},
            "kind": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "one": {"$ref": "#/components/schemas/Empty"},
            "others": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Empty"},
                "maxItems": 200,
            },
        },
    }
    form = {"required": ["image"], "properties": {"image": {"format": "binary"}, evil: {}}}
    told = {"application/json": {"schema": {"$ref": "#/components/schemas/Out"}}}
    return {
        "info": {"title": f"vqazoo {evil}", "version": "1", "description": f"Asks. {evil}"},
        "components": {"schemas": {"Out": answer, "Empty": {}, "In": form}},
        "paths": {
            "/answer": {
                "post": {
                    "summary": "Ask",
                    "description": evil,
                    "requestBody": {
                        "content": {
                            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/In"}},
                            "application/json": {"schema": answer},
                        }
                    },
                    "responses": {
                        "200": {"description": "Answers.", "content": told},
                        "413": {"description": evil, "content": told},
                    },
                },
                "get": {"responses": {}},
            },
            f"/{evil}": {"get": {"responses": {"200": {"description": "Well."}}}},
        },
    }


@pytest.mark.parametrize(
    ("name", "with_form"), [("with-form.html", True), ("with-token.html", False)]
)
def test_the_page_is_what_it_was_before_there_were_templates(name: str, with_form: bool) -> None:
    made = page.render(document(EVIL), with_form, "http://127.0.0.1:8000")
    assert "<script" not in made
    assert without_blanks(made) == golden(__file__, name)
