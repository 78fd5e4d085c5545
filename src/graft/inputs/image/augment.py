"""Random views of an image: rotation, shift, zoom, flip, brightness, contrast.

A view depends on its seed, its number and the image's content alone, never on order or batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

Fold = Callable[[np.ndarray, int], np.ndarray]
"""(positions of any sign, side) -> the pixels that they show, from 0 to side - 1."""


def _nearest(positions: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(np.clip(positions, 0, side - 1))


def _reflect(positions: np.ndarray, side: int) -> np.ndarray:
    """There and back again without end, the outermost pixel once at each turn, as `numpy.pad` does."""
    last = side - 1
    return np.asarray(last - np.abs(last - positions % max(2 * last, 1)))


FOLDS: dict[str, Fold] = {"nearest": _nearest, "reflect": _reflect}
"""How the image goes on beyond its edge, for `fill_mode`; constant: black."""

MOST_CONTINUED = 4
"""Times the image's pixels up to which it is copied to be continued; beyond, single positions are looked up."""


def numbered(pixels: np.ndarray, augmentation: Mapping[str, Any], sha256: str, number: int) -> np.ndarray:
    """View `number` of the image whose file has this sha256; augmentation: params.yaml `extract.augment`."""
    return view(pixels, augmentation, np.random.default_rng([augmentation["seed"], number, int(sha256, 16)]))


def view(pixels: np.ndarray, ranges: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """One view of (side, side, 3) uint8 pixels, same shape and type.

    ranges: the keys of params.yaml `extract.augment`; angles in degrees, shifts as a share of the
    side, zoom, brightness and contrast as the largest departure from 1.
    """
    side = pixels.shape[0]
    angle, dx, dy, zoom, brightness, contrast = rng.uniform(-1, 1, 6)
    flip = bool(ranges["horizontal_flip"]) and rng.uniform() < 0.5
    radians = np.deg2rad(angle * ranges["rotation_degrees"])
    scale = 1 + zoom * ranges["zoom"]
    shift = np.array([dx * ranges["width_shift"], dy * ranges["height_shift"]]) * side
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]]) / scale
    if flip:
        turn[0] *= -1
    if flip or not (np.allclose(turn, np.eye(2)) and np.allclose(shift, 0)):
        pixels = _warp(pixels, turn, shift, ranges["fill_mode"])
    if not ranges["brightness"] and not ranges["contrast"]:
        return pixels
    image = Image.fromarray(pixels)
    image = ImageEnhance.Brightness(image).enhance(1 + brightness * ranges["brightness"])
    image = ImageEnhance.Contrast(image).enhance(1 + contrast * ranges["contrast"])
    return np.asarray(image)


def _warp(pixels: np.ndarray, turn: np.ndarray, shift: np.ndarray, fill_mode: str) -> np.ndarray:
    """Output position p shows the input at turn @ (p - centre - shift) + centre, bilinear.

    Beyond the image Pillow paints black. For the other modes it is given an image that is continued as far as this
    transform reaches; where that would be many times the image, each position is looked up instead.
    """
    side = pixels.shape[0]
    centre = np.full(2, side / 2)
    offset = centre - turn @ (centre + shift)
    start = np.zeros(2, int)
    if fill_mode in FOLDS:
        fold = FOLDS[fill_mode]
        start, stop = _reach(turn, offset, side)
        if np.prod(stop - start) > MOST_CONTINUED * side**2:
            return _looked_up(pixels, turn, offset, fold)
        # Where nothing beyond the image is asked for, the image will do: Pillow repeats its edge within half a pixel.
        start, stop = np.minimum(start, 0), np.maximum(stop, side)
        if (stop - start > side).any():
            columns, rows = (fold(np.arange(*ends), side) for ends in zip(start, stop, strict=True))
            pixels = pixels[rows].take(columns, axis=1)
    offset = offset - start
    matrix = (turn[0, 0], turn[0, 1], offset[0], turn[1, 0], turn[1, 1], offset[1])
    warped = Image.fromarray(pixels).transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(warped)


def _reach(turn: np.ndarray, offset: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that the output's (x, y) positions ask for: first and past the last, (2,) int each.

    An affine map of a square has its extremes at the corners. A position within a pixel asks for its neighbours too,
    and a pixel more is for rounding.
    """
    first, last = 0.5, side - 0.5
    corners = turn @ np.array([[first, first, last, last], [first, last, first, last]]) + offset[:, None] - 0.5
    return np.floor(corners.min(axis=1)).astype(int) - 1, np.floor(corners.max(axis=1)).astype(int) + 3


def _looked_up(pixels: np.ndarray, turn: np.ndarray, offset: np.ndarray, fold: Fold) -> np.ndarray:
    """What Pillow makes of an image that is continued without end: the same sums in the same order.

    In memory a few times the output, however far the transform reaches.
    """
    side = pixels.shape[0]
    at = np.arange(side) + 0.5
    x, y = (turn[i, 0] * at[None, :] + turn[i, 1] * at[:, None] + offset[i] - 0.5 for i in (0, 1))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - left)[..., None], (y - top)[..., None]
    columns, rows = (fold(left, side), fold(left + 1, side)), (fold(top, side), fold(top + 1, side))
    upper, lower = (_between(pixels[row, columns[0]], pixels[row, columns[1]], across) for row in rows)
    return _between(upper, lower, down).astype(np.uint8)


def _between(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """float64, a where the share is 0."""
    return np.asarray(a + (b.astype(np.float64) - a) * share)
