"""Random views of an image: rotation, shift, zoom, flip, brightness, contrast.

A view depends on its seed, its number and the image's content alone, never on order or batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

PAD_MODES = {"nearest": "edge", "reflect": "reflect"}


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
    """Output position p shows the input at turn @ (p - centre - shift) + centre, bilinear."""
    side = pixels.shape[0]
    margin = 0
    if fill_mode in PAD_MODES:
        margin = side // 2
        pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), PAD_MODES[fill_mode])  # type: ignore[call-overload]
    centre = np.full(2, side / 2)
    offset = centre - turn @ (centre + shift) + margin
    matrix = (turn[0, 0], turn[0, 1], offset[0], turn[1, 0], turn[1, 1], offset[1])
    warped = Image.fromarray(pixels).transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(warped)
