"""Metrics as plain functions over answers; evaluate.py gives their values names and signatures.

Every function takes answers in question order and returns values in [0, 1], one a question where it
can. None imports torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
