"""A model's mistakes on one split, grouped and written as one page. Imports numpy."""

from vqazoo.evaluation.mistakes.groups import Group, Grouping, Mistakes, group_mistakes
from vqazoo.evaluation.mistakes.page import write_page

__all__ = ["Group", "Grouping", "Mistakes", "group_mistakes", "write_page"]
