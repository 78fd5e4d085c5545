"""Whether a model's file gives that model back.

Keras builds it from the file, and both must predict the same. That takes longer than training a head does, and what a
config gives depends on that config and on the libraries alone. So it is done once for each architecture on a machine;
of a file of one that is known, only its weights can be wrong, and these are compared with the model's own.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.models import gates
from graft.runtime.database import Database
from graft.training import shards

if TYPE_CHECKING:
    import keras

KNOWN = "architectures"
"""The part of graft's cache that holds what was read back."""

WEIGHTS = "model.weights.h5"
"""In a `.keras` file, which is a zip; beside them lies what the model is made of."""

LIBRARIES = ("keras", "tensorflow", "keras-hub", "h5py", "numpy")
"""By which a file becomes a model."""


def require(
    model: keras.Model,
    path: Path,
    load: Callable[[Path], keras.Model],
    example: np.ndarray,
    predicted: np.ndarray | None,
) -> None:
    """Raises GateError where the model in a file predicts anything else for `example` than `model`, by more than
    `gates.READ_BACK`.

    load: reads it. predicted: what `model` predicts, where it is known already.
    """
    kept, key = Database.opened(KNOWN), _key(path)
    weights = [weight.numpy() for weight in model.weights]
    finite = _all_finite(weights if predicted is None else [*weights, predicted])
    if finite and kept.get([key])[0] is not None and _weights_of(path) == _counted(weights):
        return
    gates.same_probabilities(
        "the model in memory",
        shards.predict(model, example) if predicted is None else predicted,
        f"{path} read back",
        shards.predict(load(path), example),
        gates.READ_BACK,
    )
    if example.any():  # of no input, or of zeros, many models predict the same
        kept.put([(key, b"")])


def _key(path: Path) -> bytes:
    state = hashlib.blake2b(" ".join(map(_version, LIBRARIES)).encode(), digest_size=20)
    with zipfile.ZipFile(path) as file:
        for name in sorted(file.namelist()):
            state.update(b"" if name == WEIGHTS else f"\n{name}\n".encode() + file.read(name))
    return state.digest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # an optional one
        return "-"


def _weights_of(path: Path) -> Counter[bytes]:
    """Of a file. Where each belongs follows from the config."""
    import h5py

    found: list[np.ndarray] = []

    def visit(name: str, one: object) -> None:
        if isinstance(one, h5py.Dataset):
            found.append(one[()])

    with zipfile.ZipFile(path) as file, h5py.File(io.BytesIO(file.read(WEIGHTS)), "r") as opened:
        opened.visititems(visit)
    return _counted(found)


def _all_finite(arrays: Iterable[np.ndarray]) -> bool:
    return all(np.isfinite(one).all() for one in arrays if np.issubdtype(one.dtype, np.floating))


def _counted(weights: Iterable[np.ndarray]) -> Counter[bytes]:
    """How often there is an array of this shape and these bytes."""
    return Counter(
        hashlib.blake2b(f"{one.shape}{one.dtype}".encode() + one.tobytes(), digest_size=20).digest()
        for one in map(np.asarray, weights)
    )
