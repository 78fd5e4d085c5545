"""The 1,797 handwritten digits that come with scikit-learn: 8x8 grey, ten classes, no official split.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from graft.data.sources.base import Item, Source
from graft.errors import DataError


@cache
def _arrays() -> tuple[np.ndarray, np.ndarray]:
    """((1797, 8, 8) uint8 grey, bright strokes on black; (1797,) int labels)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return pixels, bunch.target


def scan(root: Path) -> list[Item]:
    if not root.is_dir():
        raise DataError(
            f"data.path: must be a directory for data.source: digits (its notes live there). Got {str(root)!r}; "
            "set data.path: data/digits."
        )
    return [Item(f"{i:04d}.pgm", str(label)) for i, label in enumerate(_arrays()[1])]


def read(root: Path, path: str) -> bytes:
    """A binary PGM: its bytes depend on the pixels alone, not on an encoder's version."""
    pixels = _arrays()[0][int(path.removesuffix(".pgm"))]
    return b"P5 8 8 255\n" + bytes(pixels.tobytes())


SOURCE = Source(scan, read)
