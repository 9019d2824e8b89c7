"""What people write in a model card survives when it is generated anew."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from tests.support.made_cards import NAME, SECTIONS, contents, metric, section
from vqazoo.card import merge, prose, render_card
from vqazoo.card.prose import sections, unmatched
from vqazoo.errors import CheckpointError


@pytest.fixture
def fresh() -> str:
    return render_card(contents(), NAME)


def changed(fresh: str) -> str:
    """The card of the same model with other numbers."""
    other = render_card(contents(metrics=[metric("accuracy", 0.125)]), NAME)
    assert other != fresh
    return other


def test_an_unedited_card_becomes_the_fresh_one(fresh: str) -> None:
    assert sections(fresh) == SECTIONS
    assert merge(fresh, fresh) == fresh
    assert merge(fresh, changed(fresh)) == changed(fresh)
    assert merge("", fresh) == merge(" \n", fresh) == fresh
    assert prose(fresh) == prose(changed(fresh))


def test_prose_numbers_in_it_included_survives(fresh: str) -> None:
    edited = fresh.replace("Research, teaching", "Nothing but teaching").replace(
        "## Data", "## My own section\n\nIt scored 99% once.\n\n## The data"
    )
    assert prose(edited) != prose(fresh)
    again = merge(edited, changed(fresh))
    assert "Nothing but teaching" in again
    assert "## My own section\n\nIt scored 99% once.\n\n## The data" in again
    assert prose(again) == prose(edited)
    assert "12.50%" in section(again, "summary")
    assert "81.25%" not in again
    assert merge(again, changed(fresh)) == again


def test_text_written_into_a_generated_section_is_renewed(fresh: str) -> None:
    edited = fresh.replace("81.25%", "99.99%")
    assert prose(edited) == prose(fresh)
    assert merge(edited, fresh) == fresh


def test_moved_sections_are_renewed_where_they_stand(fresh: str) -> None:
    block = section(fresh, "cite")
    edited = fresh.replace(block, "").replace("## How to run", f"{block}\n\n## How to run")
    again = merge(edited, changed(fresh))
    assert sections(again)[2] == "cite"
    assert sections(again).count("cite") == 1


def test_a_deleted_section_stays_away_but_the_metrics_come_back(fresh: str) -> None:
    edited = fresh.replace(section(fresh, "cite"), "").replace("## How to cite\n", "")
    again = merge(edited, fresh)
    assert sections(again) == SECTIONS[:-1]
    assert "bibtex" not in again
    edited = edited.replace(section(fresh, "metrics"), "").replace("## Metrics\n", "")
    again = merge(edited, fresh)
    assert sections(again)[-1] == "metrics"
    assert again.count("## Metrics\n") == 1
    assert again.rstrip().endswith("<!-- /vqazoo:metrics -->")


def test_front_matter_of_others_is_kept_and_ours_is_renewed(fresh: str) -> None:
    edited = fresh.replace("license: mit\n", "license: apache-2.0\nthumbnail: shapes.png\n")
    edited = edited.replace("- concat\n", "- concat\n- shapes\n")
    edited = edited.replace("library_name: vqazoo", "library_name: other")
    data = ModelCard(merge(edited, changed(fresh))).data
    assert data.license == "apache-2.0"
    assert data.to_dict()["thumbnail"] == "shapes.png"
    assert data.tags == ["lstm", "concat", "shapes"]
    assert data.library_name == "vqazoo"
    assert [(r.metric_type, r.metric_value) for r in data.eval_results] == [("accuracy", 12.5)]
    unmeasured = render_card(contents(metrics=[]), NAME)
    assert "model-index" not in merge(edited, unmeasured)
    assert "model_name" not in merge(unmeasured, fresh)


def test_a_base_model_that_a_person_added_stays(fresh: str) -> None:
    edited = fresh.replace("license: mit\n", "license: mit\nbase_model: me/tiny\n")
    assert ModelCard(merge(edited, fresh)).data.base_model == "me/tiny"


def test_line_ends_stay_as_they_were(fresh: str) -> None:
    windows = fresh.replace("Research, teaching", "Teaching").replace("\n", "\r\n")
    again = merge(windows, changed(fresh))
    assert again.count("\n") == again.count("\r\n") > 100
    assert prose(again) == prose(windows)
    assert merge("\ufeff" + windows, fresh) == merge(windows, fresh)
    assert ModelCard(again).data.license == "mit"


def test_a_card_of_somebody_else_stays_whole(fresh: str) -> None:
    old = "---\nlicense: gpl-3.0\n---\n# My model\n\nIt is good.\n\n## Metrics\n\nGuessed.\n"
    again = merge(old, fresh)
    assert "# My model\n\nIt is good.\n\n## Metrics\n\nGuessed.\n\n<!-- vqazoo:summary" in again
    assert sections(again) == SECTIONS
    assert "## How to run\n\n<!-- vqazoo:run -->" in again
    assert ModelCard(again).data.license == "gpl-3.0"
    assert merge(again, fresh) == again
    bare = merge("Only a sentence.", fresh)
    assert ModelCard(bare).data.library_name == "vqazoo"
    assert "\n---\n\nOnly a sentence.\n" in bare


def test_a_mark_without_partner_loses_nothing(fresh: str) -> None:
    edited = fresh.replace("<!-- /vqazoo:parts -->", "Mine.")
    again = merge(edited, fresh)
    assert "Mine.\n" in again
    assert unmatched(again) == ["<!-- vqazoo:parts -->"]
    assert sections(again) == [name for name in SECTIONS if name != "parts"]
    assert unmatched(fresh) == []


def test_a_section_of_a_newer_release_stays(fresh: str) -> None:
    newer = "<!-- vqazoo:carbon -->\n\n3 g\n\n<!-- /vqazoo:carbon -->\n"
    assert newer in merge(fresh + newer, fresh)


def test_the_title_follows_the_name_unless_it_was_edited(fresh: str) -> None:
    other = render_card(contents(), "other-name")
    assert "\n# other-name\n" in merge(fresh, other)
    assert prose(fresh) == prose(other)
    edited = fresh.replace(f"\n# {NAME}\n", "\n# Shapes\n")
    assert "\n# Shapes\n" in merge(edited, other)
    assert prose(edited) != prose(fresh)


@pytest.mark.parametrize("front", ["a: [", "just words", "1: 2"])
def test_broken_front_matter_is_told(fresh: str, front: str) -> None:
    with pytest.raises(CheckpointError, match="front matter of the model card cannot be read"):
        merge(f"---\n{front}\n---\n# x\n", fresh)
