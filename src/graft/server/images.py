"""Images in a request: the bytes of a file, base64 or numbers in JSON, an array of NumPy's; and heat on one."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.inputs.image.spec import PIXELS
from graft.server.bodies import JSON, Asked, BodyError, Tree, parsed, shown
from graft.training import shards

if TYPE_CHECKING:
    from graft.features.engines.base import Forward
    from graft.serving.classifier import Classifier

NPY = "application/x-npy"

SHOULD = (
    "the bytes of an image file; or JSON with `instances`, `inputs`, `dataframe_split` or `dataframe_records`, whose "
    "images are base64 or nested lists of pixels; or an array in NumPy's format (application/x-npy)"
)


def read(body: bytes, content_type: str, pair: bool) -> Asked:
    """content_type: of the request, without parameters, lower case. Raises BodyError."""
    if content_type == JSON:
        tree = parsed(body)
        return Asked([_image(one, place) for place, one in enumerate(_rows(tree), start=1)], tree.top_k)
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


def _of_array(array: np.ndarray) -> list[Any]:
    return list(array) if array.ndim == 4 else [array]


def _rows(tree: Tree) -> Sequence[Any]:
    """What stands for an image each."""
    value = tree.value
    if tree.form == "dataframe_split":
        value = value.get("data") if isinstance(value, Mapping) else None
    elif tree.form == "inputs" and isinstance(value, Mapping) and len(value) == 1:  # a column by its name
        (value,) = value.values()
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise BodyError(f"{tree.form}: must hold a list of images. Got {shown(value)}.")
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
                f"image {place}: a text must be base64 of an image file. Got {shown(one)}: {error}."
            ) from None
    if isinstance(one, list):
        try:
            return np.array(one, np.float64)
        except (ValueError, TypeError):
            raise BodyError(f"image {place}: lists must be (height, width, 3) numbers in [0, 255].") from None
    raise BodyError(f"image {place}: must be base64 or nested lists of pixels. Got {shown(one)}.")


def explained(classifier: Classifier, forward: Forward) -> Callable[[Any], dict[str, Any]] | None:
    """An image -> its label and a JPEG of where in it that came from; None where nothing can be localised."""
    from graft.explaining.grad_cam import GradCam
    from graft.explaining.overlay import overlay

    cam = GradCam(classifier.network)
    if cam.limit:
        return None

    def of(image: Any) -> dict[str, Any]:
        pixels = classifier.example(image, 1)[PIXELS]
        number = classifier.probabilities(pixels).argmax(axis=1)
        with shards.ONE_AT_A_TIME:
            (heat,) = cam.heat_maps(pixels[None].astype(np.float32), number)
        picture = base64.b64encode(overlay(pixels, heat)).decode("ascii")
        return {"label": classifier.classes[int(number[0])], "jpeg": picture}

    return of
