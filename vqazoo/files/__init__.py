"""Bytes on disk: read within bounds, written as a whole or not at all. Knows no model."""
