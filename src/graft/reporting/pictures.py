"""Small pictures of the images that a page shows, as they are and with the heat of an explanation on them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import inputs
from graft.errors import DataError, StaleError
from graft.examples import catalogue
from graft.examples.sources import SOURCES
from graft.examples.thumbnails import thumbnails
from graft.explaining.grad_cam import GradCam
from graft.explaining.overlay import overlay
from graft.inputs.image.spec import PIXELS
from graft.inputs.spec import UndecodableError
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

GONE = (OSError, ValueError, LookupError, UndecodableError)
"""What an image that is not here, or is none any more, raises as it is read and decoded."""


class AsCatalogued:
    """The images that the model was judged on: one that has changed since is as good as gone."""

    def __init__(self, source: str, root: Path, catalogue_file: Path) -> None:
        """Raises DataError where `root` is not what the source expects."""
        used = catalogue.read(catalogue_file).used
        self._sha256s = dict(zip(used["path"], used["sha256"], strict=True))
        self._read = catalogue.reader(SOURCES[source], root)

    def read(self, path: str) -> bytes:
        """Raises OSError where it cannot be read, or is not what the catalogue has; KeyError for what it has not."""
        try:
            return self._read(path, self._sha256s[path])
        except StaleError as error:
            raise OSError(str(error)) from None


def reader(source: str, root: Path, catalogue_file: Path) -> AsCatalogued | None:
    """None where there is nothing at `root` that the source could read, or no catalogue."""
    try:
        return AsCatalogued(source, root, catalogue_file)
    except (DataError, OSError, ValueError, KeyError):
        return None


def small(images: AsCatalogued | None, paths: Sequence[str]) -> dict[str, str]:
    """path -> JPEG in base64, of those that are here."""
    return thumbnails(images, paths, SIDE)


def link(root: Path, path: str) -> str | None:
    """The address of an image's file; None where it is none of its own, in an archive or an array."""
    file = root / path
    return file.resolve().as_uri() if root.is_dir() and file.is_file() else None


Question = tuple[str, int]
"""Path of an image, number of the class it is asked about."""


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
