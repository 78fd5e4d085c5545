"""stand-in"""

from __future__ import annotations

from typing import Any

import numpy as np


def predict(model: Any, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model(inputs, training=False))
