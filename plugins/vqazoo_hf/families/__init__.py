"""Readers of published checkpoints in transformers' layout: one module a family."""
