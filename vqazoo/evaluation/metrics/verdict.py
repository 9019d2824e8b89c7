"""What a paired comparison shows, in one sentence."""

from __future__ import annotations

import math

from vqazoo.evaluation.metrics.proportions import wilson_interval
from vqazoo.evaluation.metrics.significance import ALPHA, Difference


def verdict(
    difference: Difference, smallest: float, clusters: int, drawn: str, names: tuple[str, str]
) -> str:
    """Whether a difference is real, as the paired test over pictures has it.

    Args:
        smallest: the smallest difference that can be shown, in [0, 1]; nan: not known.
        clusters: how many pictures (or questions) were swapped; drawn: which of both.
        names: of the first and the second.
    """
    tested = f"paired by {drawn}, p = {difference.p_value:.2g}"
    size = f"{100 * abs(difference.difference):.2f} points"
    if difference.real:
        better = names[0] if difference.difference > 0 else names[1]
        low, high = sorted(abs(100 * end) for end in difference.interval)
        between = f", 95% interval {low:.2f} to {high:.2f}" if _one_sided(difference) else ""
        return f"The difference is real: {better} is better by {size}{between} ({tested})."
    if not difference.better and not difference.worse:
        most = 100 * wilson_interval(0.0, clusters).high
        return (
            f"No difference is shown: both score the same on every question; one of up to "
            f"{most:.2f} points cannot be excluded ({clusters:,} {drawn})."
        )
    if math.isnan(smallest):
        return f"No difference is shown: {size} may be chance ({tested}, not below {ALPHA:g})."
    return (
        f"No difference is shown: {size} may be chance ({tested}, not below {ALPHA:g}); one of "
        f"{100 * smallest:.2f} points would be shown four times of five."
    )


def _one_sided(difference: Difference) -> bool:
    """Whether the interval leaves 0 out, as it nearly always does where the test finds one."""
    low, high = difference.interval
    return low * high > 0
