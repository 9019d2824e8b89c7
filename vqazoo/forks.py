"""A process that `fork` made of one that has computed with torch. Imports torch.

GNU's OpenMP, by which torch computes on Linux, would wait in such a child for threads that `fork`
did not copy, for ever: the first answer of a `multiprocessing` pool whose parent had asked a model
never came. A child computes in one thread, as those of torch's own DataLoader do. `spawn` and
`subprocess` begin anew, and have all threads.
"""

from __future__ import annotations

import os

import torch


def _after_fork() -> None:
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
