"""Small pictures of the images that a page shows, as they are and with the heat of an explanation on them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import inputs
from graft.examples.thumbnails import thumbnails
from graft.explaining.grad_cam import GradCam
from graft.explaining.overlay import overlay
from graft.inputs.image.spec import PIXELS
from graft.reporting.read import GONE, AsCatalogued, Question
from graft.runtime.cores import available
from graft.runtime.progress import track

if TYPE_CHECKING:
    import keras

SIDE = 128
"""Pixels."""

CHUNK = 8
"""Pictures that are read and explained at a time."""

FEW_PIXELS = 64
"""Side of an input up to which its pixels are shown as squares."""


def small(images: AsCatalogued | None, paths: Sequence[str]) -> dict[str, str]:
    """path -> JPEG in base64, of those that are here."""
    return thumbnails(images, paths, SIDE)


@dataclass(frozen=True)
class Heated:
    """shown: question -> JPEG in base64, of those whose images are here. places: (rows, columns) of the map below it.

    limit: why there is none, a sentence; "" where there may be some.
    """

    shown: dict[Question, str]
    places: tuple[int, int]
    limit: str


def heated(
    model: keras.Model, card: Mapping[str, Any], images: AsCatalogued | None, questions: Sequence[Question]
) -> Heated:
    """What speaks for the class of each question. card: of the model; says how an image becomes its input."""
    explained = GradCam(model)
    if explained.limit or images is None:
        return Heated({}, explained.places, explained.limit)
    spec = inputs.KINDS[card["input"]["kind"]].from_dict(card["input"])

    def pixels(path: str) -> np.ndarray | None:
        try:
            return spec.arrays(images.read(path), "", [0])[0][PIXELS]
        except GONE:
            return None

    asked = sorted(set(questions))
    chunks = [asked[start : start + CHUNK] for start in range(0, len(asked), CHUNK)]
    found: dict[Question, str] = {}
    with ThreadPoolExecutor(available()) as pool:
        for chunk in track(chunks, len(asked), "Grad-CAM", len):
            read = zip(chunk, pool.map(pixels, [path for path, _ in chunk]), strict=True)
            known = [(question, square) for question, square in read if square is not None]
            if known:
                squares = np.stack([square for _, square in known])
                heat = explained.heat_maps(squares.astype(np.float32), np.array([number for (_, number), _ in known]))
                shown = pool.map(lambda one: _shown(*one), zip(squares, heat, strict=True))
                found |= dict(zip([question for question, _ in known], shown, strict=True))
    return Heated(found, explained.places, "")


def _shown(pixels: np.ndarray, heat: np.ndarray) -> str:
    """pixels: (side, side, 3) uint8, what the network sees."""
    from PIL import Image

    how = Image.Resampling.NEAREST if len(pixels) <= FEW_PIXELS else Image.Resampling.BICUBIC
    picture = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), how))
    return base64.b64encode(overlay(picture, heat)).decode()


def context(
    model: keras.Model,
    card: Mapping[str, Any],
    images: AsCatalogued | None,
    paths: Sequence[str],
    questions: Sequence[Question],
) -> dict[str, Any]:
    """What the page shows of images. paths: of all of them. without: how many of them it cannot show."""
    shown, heat = small(images, paths), heated(model, card, images, questions)
    return {
        "pictures": shown,
        "heat": heat.shown,
        "places": heat.places,
        "limit": heat.limit,
        "side": SIDE,
        "without": len(paths) - len(shown),
    }
