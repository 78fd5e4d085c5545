"""Write a Keras model as the same bytes every time, and prove that it reads back the same.

A `.keras` file is a zip. Keras puts the date into its metadata, the clock into its entries and the memory
address of shared objects into its config; all are fixed here, so that DVC sees a change only where there is one.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.backbones import hub
from graft.errors import StaleError
from graft.models import read_back

if TYPE_CHECKING:
    import keras

EPOCH = (1980, 1, 1, 0, 0, 0)


def save(model: keras.Model, path: Path, example: np.ndarray, predicted: np.ndarray | None = None) -> None:
    """Write `model`; the file must give it back (`read_back`). Raises GateError where it does not.

    example: some inputs. predicted: what `model` predicts for them, where it is known already.
    """
    import keras

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    # Wrapped anew, the model leaves its optimizer and its compiled state behind.
    keras.Model(model.inputs[0], model.outputs[0], name=model.name).save(partial)
    _normalise(partial, path)
    partial.unlink()
    read_back.require(model, path, load, example, predicted)


def load(path: Path) -> keras.Model:
    """Read a model. Raises StaleError where the file is missing or none of Keras's."""
    import keras

    try:
        if has_layers_of_hub(path):
            hub.keras_hub()  # raises BackboneError where it is not installed; from here on Keras knows its layers
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:300]
        raise StaleError(
            f"{path}: must be a Keras model written by an earlier stage. Run `dvc repro`. Got: {reason}"
        ) from None


THEIRS = (b"keras_hub>", b"keras_hub.src.")
"""In a file whose layers are KerasHub's: how it registers some of them, and where the others stand."""


def has_layers_of_hub(path: Path) -> bool:
    """Whether KerasHub must be installed to read a model. Raises OSError or BadZipFile where there is none."""
    with zipfile.ZipFile(path) as opened:
        config = opened.read("config.json")
        return any(one in config for one in THEIRS)


def _normalise(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in sorted(old.namelist()):
            data = old.read(name)
            if name == "metadata.json":
                metadata: dict[str, Any] = json.loads(data)
                metadata.pop("date_saved", None)
                data = json.dumps(metadata, sort_keys=True).encode()
            if name == "config.json":
                data = json.dumps(_renumbered(json.loads(data), {})).encode()
            new.writestr(zipfile.ZipInfo(name, EPOCH), data)


def _renumbered(node: Any, numbers: dict[int, int]) -> Any:
    """`shared_object_id` is a memory address; only which ones are equal matters. Counted by first appearance."""
    if isinstance(node, list):
        return [_renumbered(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: numbers.setdefault(value, len(numbers))
        if key == "shared_object_id" and value is not None
        else _renumbered(value, numbers)
        for key, value in node.items()
    }
