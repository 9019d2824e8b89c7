"""Metrics as plain functions over answers; evaluate.py gives their values names and signatures.

Every function takes answers in question order and returns values in [0, 1], one a question where it
can. None imports torch.
"""
