"""From the body of a request to images: the bytes of a file, base64 or numbers in JSON, an array of NumPy's."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

JSON, NPY = "application/json", "application/x-npy"

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
"""Keys of a JSON body under one of which the images are, as `mlflow models serve` has it."""

SHOULD = (
    "the bytes of an image file; or JSON with `instances`, `inputs`, `dataframe_split` or `dataframe_records`, whose "
    "images are base64 or nested lists of pixels; or an array in NumPy's format (application/x-npy)"
)

AFTER = 60
"""Characters of a faulty value that a message repeats."""


class BodyError(ValueError):
    """A request whose body is not what it should be."""


@dataclass(frozen=True)
class Asked:
    """images: the bytes of a file each, or an array of pixels. top_k: as the body asks for, None where it does not."""

    images: list[bytes | np.ndarray]
    top_k: int | None = None


def read(body: bytes, content_type: str) -> Asked:
    """content_type: of the request, without parameters, lower case. Raises BodyError."""
    if content_type == JSON:
        return _of_json(body)
    if not body:
        raise BodyError(f"the body must be {SHOULD}. Got nothing.")
    if content_type == NPY:
        return Asked(_of_array(_npy(body)))
    return Asked([body])


def _npy(body: bytes) -> np.ndarray:
    try:
        return np.asarray(np.load(io.BytesIO(body), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise BodyError(f"the body must be an array as `numpy.save` writes it. Got: {error}") from None


def _of_array(array: np.ndarray) -> list[bytes | np.ndarray]:
    return list(array) if array.ndim == 4 else [array]


def _of_json(body: bytes) -> Asked:
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"the body must be JSON. Got: {error}") from None
    found = [key for key in FORMS if isinstance(tree, Mapping) and key in tree]
    if len(found) != 1:
        got = f"the keys {sorted(tree)}" if isinstance(tree, Mapping) else type(tree).__name__
        raise BodyError(f"a JSON body must have one of {', '.join(FORMS)}. Got {got}.")
    params = tree.get("params") or {}
    top_k = params.get("top_k") if isinstance(params, Mapping) else None
    return Asked([_image(one, place) for place, one in enumerate(_rows(found[0], tree[found[0]]), start=1)], top_k)


def _rows(form: str, value: Any) -> Sequence[Any]:
    """What stands for an image each."""
    if form == "dataframe_split":
        value = value.get("data") if isinstance(value, Mapping) else None
    elif form == "inputs" and isinstance(value, Mapping) and len(value) == 1:  # a column by its name
        (value,) = value.values()
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise BodyError(f"{form}: must hold a list of images. Got {_shown(value)}.")
    return value


def _image(one: Any, place: int) -> bytes | np.ndarray:
    """One row: the image itself, or a row with one column, of whatever name."""
    if isinstance(one, Mapping):
        if len(one) != 1:
            raise BodyError(f"image {place}: a row must have one column. Got {sorted(one)}.")
        (one,) = one.values()
    if isinstance(one, list) and len(one) == 1 and isinstance(one[0], str):
        (one,) = one
    if isinstance(one, str):
        try:
            return base64.b64decode(one, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BodyError(
                f"image {place}: a text must be base64 of an image file. Got {_shown(one)}: {error}."
            ) from None
    if isinstance(one, list):
        try:
            return np.array(one, np.float64)
        except (ValueError, TypeError):
            raise BodyError(f"image {place}: lists must be (height, width, 3) numbers in [0, 255].") from None
    raise BodyError(f"image {place}: must be base64 or nested lists of pixels. Got {_shown(one)}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= AFTER else f"{text[:AFTER]}..."
