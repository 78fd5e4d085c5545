"""Images, as callers have them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.errors import DataError
from graft.examining.image.limits import require_pixels
from graft.inputs.image.decode import to_square
from graft.inputs.image.spec import PIXELS

if TYPE_CHECKING:
    import pandas as pd

    from graft.inputs.image.spec import ImageInput
    from graft.inputs.spec import Arrays

ACCEPTED = "the bytes of an image file, a pathlib.Path, an array of pixels in [0, 255], or a list of those"

COLUMN = "image"
"""The one column of a table of images, by any name: the bytes of an image file each, base64 when served."""


def single(images: Any, spec: ImageInput) -> Iterator[Any]:
    """One image after the other."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        yield from images
    elif isinstance(images, Iterable) and not isinstance(images, str | bytes | bytearray | memoryview | np.ndarray):
        for one in images:
            yield from single(one, spec) if isinstance(one, np.ndarray) else [one]
    else:
        yield images


def require(data: bytes, spec: ImageInput) -> None:
    """Raises UndecodableError where an image is too large to be decoded."""
    require_pixels(data)


def in_memory(one: Any, place: int, spec: ImageInput) -> Arrays:
    """What the network reads of an array of pixels. Raises DataError for anything else."""
    if isinstance(one, np.ndarray):
        return {PIXELS: to_square(_pixels(one, place), spec.resizing)}
    hint = "; a text is not opened as a path, give pathlib.Path(text)" if isinstance(one, str) else ""
    raise DataError(f"image {place}: must be {ACCEPTED}. Got {type(one).__name__}{hint}.")


def columns(spec: ImageInput) -> tuple[str, ...]:
    return (COLUMN,)


def rows(table: pd.DataFrame, spec: ImageInput) -> list[Any]:
    """The images of the first column."""
    return [_decoded(one) for one in table.iloc[:, 0]]


def _decoded(file: Any) -> Any:
    """The bytes that base64 stands for, as text or as the bytes of a text: MLflow decodes it in some requests only."""
    try:
        return base64.b64decode(file, validate=True)
    except (ValueError, TypeError):  # no image file is made of base64's characters alone
        return file


def _pixels(array: np.ndarray, place: int) -> np.ndarray:
    """(h, w) or (h, w, 1 | 3 | 4) as uint8, rounded."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise DataError(
            f"image {place}: an array must be (height, width) or (height, width, 1, 3 or 4). Got shape {array.shape}."
        )
    if array.dtype.kind not in "uif":
        raise DataError(f"image {place}: an array must hold numbers in [0, 255]. Got dtype {array.dtype}.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):
        raise DataError(f"image {place}: pixels must lie in [0, 255]. Got values from {low:g} to {high:g}.")
    if array.dtype.kind == "f" and 0 < high <= 1:
        raise DataError(f"image {place}: pixels must lie in [0, 255], and these lie in [0, 1]. Multiply them by 255.")
    return np.round(array).astype(np.uint8)
