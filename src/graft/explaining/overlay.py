"""A picture with its heat on it."""

from __future__ import annotations

import io

import numpy as np

from graft.explaining.grad_cam import enlarged

COLOURS = "viridis"
"""From matplotlib: as light as it is hot, so that it reads the same in grey and to the colour-blind."""

COLD, HOT = 0.25, 0.65
"""Share of the colour over the picture at no heat and at full heat: what is hot must still be recognisable."""


def overlay(picture: np.ndarray, heat: np.ndarray, quality: int = 85) -> bytes:
    """A JPEG of (h, w, 3). picture: (h, w, 3) uint8. heat: (any, any) float32 in [0, 1], of the whole picture."""
    from matplotlib import colormaps
    from PIL import Image

    height, width = picture.shape[:2]
    smooth = enlarged(heat, height, width)
    colours = colormaps[COLOURS](smooth)[..., :3] * 255
    share = (COLD + (HOT - COLD) * smooth)[..., None]
    mixed = np.round(picture * (1 - share) + colours * share).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(mixed).save(out, "JPEG", quality=quality)
    return out.getvalue()
