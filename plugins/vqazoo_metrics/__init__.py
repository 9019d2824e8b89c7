"""Metrics of the field's benchmarks, each by the rule of its official scorer."""
