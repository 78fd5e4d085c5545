"""The 1,797 handwritten digits that come with scikit-learn: 8x8 grey, ten classes, no official split.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from graft.examples.sources import arrays


@cache
def _parts() -> list[arrays.Part]:
    """Bright strokes on black."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return [arrays.Part("", None, pixels, [str(label) for label in bunch.target])]


SOURCE = arrays.source("digits", "data/digits", _parts)
