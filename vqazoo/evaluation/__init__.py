"""Scoring a split, and what is shown of it."""
