"""Draw the pretraining images: letters and symbols, no digits, under random deformation.

Every font comes with matplotlib. A class is a set of characters that look alike after scaling
(Latin A, Greek Alpha and Cyrillic A are one class), so that no label asks for the impossible.
"""

from __future__ import annotations

import multiprocessing
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
)
BASE_PIXELS = 96  # side of the undeformed masks; glyphs fill two thirds of it


@dataclass(frozen=True)
class Glyphs:
    """The undeformed characters.

    masks: (n, BASE_PIXELS, BASE_PIXELS) uint8, 255 on the stroke.
    labels: (n,) int64 class of each mask.
    names: the characters of each class, joined.
    """

    masks: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]


def characters(blocks: dict[str, list[list[int]]]) -> list[str]:
    """The characters of `blocks` ([first, last] code points, inclusive), without numbers."""
    points = [p for ranges in blocks.values() for lo, hi in ranges for p in range(lo, hi + 1)]
    found = [chr(p) for p in points if unicodedata.category(chr(p)) not in {"Cn", "Nd", "Nl", "No"}]
    assert not any(c.isdigit() for c in found)
    return found


def _mask(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray | None:
    """`character` scaled so that its longer side is two thirds of the canvas, centred."""
    left, top, right, bottom = font.getbbox(character)
    width, height = right - left, bottom - top
    if width < 2 or height < 2:
        return None
    canvas = Image.new("L", (width + 4, height + 4))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), character, fill=255, font=font)
    scale = BASE_PIXELS * 2 / 3 / max(width, height)
    size = (max(1, round((width + 4) * scale)), max(1, round((height + 4) * scale)))
    small = canvas.resize(size, Image.Resampling.BILINEAR)
    out = Image.new("L", (BASE_PIXELS, BASE_PIXELS))
    out.paste(small, ((BASE_PIXELS - size[0]) // 2, (BASE_PIXELS - size[1]) // 2))
    return np.asarray(out)


def _merge(shapes: np.ndarray, above: float) -> np.ndarray:
    """Class numbers (n,) for (n, h, w) masks: connected components of IoU > `above`."""
    flat = (shapes > 127).reshape(len(shapes), -1).astype(np.float32)
    both = flat @ flat.T
    area = flat.sum(1)
    iou = both / (area[:, None] + area[None, :] - both)
    _, component = np.unique(
        _components(iou > above),
        return_inverse=True,
    )
    return component


def _components(linked: np.ndarray) -> np.ndarray:
    from scipy.sparse.csgraph import connected_components

    return connected_components(linked, directed=False)[1]


def load(blocks: dict[str, list[list[int]]], merge_above: float) -> Glyphs:
    """Every character of `blocks` in every font that has it."""
    folder = Path(get_data_path()) / "fonts" / "ttf"
    wanted = characters(blocks)
    reference = ImageFont.truetype(folder / f"{FONTS[0]}.ttf", 160)
    known = set(FT2Font(str(folder / f"{FONTS[0]}.ttf")).get_charmap())
    wanted = [c for c in wanted if ord(c) in known]
    shapes = [_mask(c, reference) for c in wanted]
    wanted = [c for c, s in zip(wanted, shapes, strict=True) if s is not None]
    classes = _merge(np.stack([s for s in shapes if s is not None]), merge_above)
    masks, labels = [], []
    for name in FONTS:
        path = folder / f"{name}.ttf"
        has = set(FT2Font(str(path)).get_charmap())
        font = ImageFont.truetype(path, 160)
        for character, label in zip(wanted, classes, strict=True):
            mask = _mask(character, font) if ord(character) in has else None
            if mask is not None:
                masks.append(mask)
                labels.append(label)
    names = tuple("".join(c for c, k in zip(wanted, classes, strict=True) if k == n) for n in range(classes.max() + 1))
    return Glyphs(np.stack(masks), np.asarray(labels, np.int64), names)


def _spline(n: int, knots: int = 5) -> np.ndarray:
    """(n, knots) weights that turn a coarse random grid into a smooth displacement."""
    x = np.linspace(0, knots - 1, n)[:, None] - np.arange(knots)[None, :]
    weights = np.exp(-0.5 * (x / 0.7) ** 2)
    return weights / np.sqrt((weights**2).sum(1, keepdims=True))


def _deform(mask: np.ndarray, side: int, p: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Random affine and elastic deformation, then a random stroke width: (side, side) in [0, 1]."""
    angle = np.deg2rad(rng.uniform(-1, 1) * p["rotation_degrees"])
    shear = rng.uniform(-1, 1) * p["shear"]
    scale = rng.uniform(*p["scale"]) * 1.5
    aspect = np.sqrt(rng.uniform(*p["aspect"]))
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.linalg.inv(rotate @ [[1, 0], [shear, 1]] @ np.diag([scale * aspect, scale / aspect]))
    axis = (np.arange(side) + 0.5) / side - 0.5
    y, x = np.meshgrid(axis, axis, indexing="ij")
    y, x = y + rng.uniform(-1, 1) * p["shift"], x + rng.uniform(-1, 1) * p["shift"]
    basis = _spline(side)
    strength = p["elastic"] * rng.uniform(0, 1.5)
    y = y + strength * (basis @ rng.normal(size=(5, 5)) @ basis.T)
    x = x + strength * (basis @ rng.normal(size=(5, 5)) @ basis.T)
    source = np.einsum("ij,jhw->ihw", matrix, np.stack([y, x])) * BASE_PIXELS + BASE_PIXELS / 2 - 0.5
    image = ndimage.map_coordinates(mask.astype(np.float32) / 255, source, order=1, prefilter=False)
    image = ndimage.gaussian_filter(image, rng.uniform(*p["blur_pixels"]) * side / 64)
    threshold = rng.uniform(*p["stroke_threshold"]) * max(image.max(), 1e-3)
    return 1 / (1 + np.exp(np.clip((threshold - image) * 24, -30, 30)))


def _resize(image: np.ndarray, side: int) -> np.ndarray:
    resized = Image.fromarray(image.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def draw(mask: np.ndarray, p: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """One training image, (canvas, canvas) uint8 grey."""
    side = p["canvas"]
    image = _deform(mask, side, p, rng)
    if rng.uniform() < p["coarse_fraction"]:
        pixels = int(rng.integers(p["coarse_pixels"][0], p["coarse_pixels"][1] + 1))
        image = np.asarray(Image.fromarray(image.astype(np.float32)).resize((pixels, pixels), Image.Resampling.BOX))
        if rng.uniform() < 0.5:
            image = np.round(image * 16) / 16
    plain = rng.uniform() < p["plain_fraction"]
    if not plain:
        ground, ink = rng.uniform(0, 1, 2)
        if abs(ground - ink) < 0.25:
            ink = ground + 0.35 * (1 if ground < 0.5 else -1)
        slope = rng.normal(0, 0.15, 2)
        axis = np.linspace(-1, 1, len(image))
        field = ground + slope[0] * axis[:, None] + slope[1] * axis[None, :]
        image = field * (1 - image) + ink * image
        image = image + rng.normal(0, rng.uniform(0, 0.08), image.shape)
    else:
        image = image * rng.uniform(0.7, 1.0)
    if len(image) != side:
        image = _resize(image, side)
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)


def _chunk(job: tuple[int, int, int, np.ndarray, dict[str, Any]]) -> np.ndarray:
    seed, index, n, masks, p = job
    rng = np.random.default_rng([seed, index])
    return np.stack([draw(masks[i % len(masks)], p, rng) for i in range(n)])


def render(glyphs: Glyphs, p: dict[str, Any], seed: int, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """`p["images"]` images in a memory-mapped file (n, canvas, canvas) uint8, and labels (n,).

    Classes are drawn equally often; the images depend on `seed` alone, not on the core count.
    """
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(glyphs.labels == k) for k in range(len(glyphs.names))]
    labels = np.arange(p["images"]) % len(by_class)
    rng.shuffle(labels)
    which = np.array([rng.choice(by_class[k]) for k in labels])
    images = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=(p["images"], p["canvas"], p["canvas"]))
    size = 1000
    jobs = (
        (seed, i, len(which[s : s + size]), glyphs.masks[which[s : s + size]], p)
        for i, s in enumerate(range(0, len(which), size))
    )
    with multiprocessing.get_context("spawn").Pool() as pool:
        for i, chunk in enumerate(pool.imap(_chunk, jobs)):
            images[i * size : i * size + len(chunk)] = chunk
    images.flush()
    return images, labels
