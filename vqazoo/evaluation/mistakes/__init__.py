"""A model's mistakes on one split, grouped and written as one page. Imports numpy."""

from vqazoo.evaluation.mistakes.groups import Grouping, Mistakes, QuestionGroup, group_mistakes
from vqazoo.evaluation.mistakes.page import check_page_place, write_page

__all__ = [
    "Grouping",
    "Mistakes",
    "QuestionGroup",
    "check_page_place",
    "group_mistakes",
    "write_page",
]
