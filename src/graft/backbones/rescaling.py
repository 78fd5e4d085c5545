"""How a network of KerasHub's wants its pixels, as the files beside its weights say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from graft.backbones.vision import Rescaling, Three, Vision, normalising
from graft.errors import BackboneError

PRESETS, HUGGING_FACES = "image_converter.json", "preprocessor_config.json"
"""The file in a preset of KerasHub's, and in a folder in Hugging Face's layout."""


def of(row: Vision, weights: str) -> Rescaling:
    """weights: a folder, or the name of a preset. Where neither file is there, that of the family.

    Raises BackboneError where a file holds something else than numbers for one or three channels.
    """
    for name, understood in ((PRESETS, _of_preset), (HUGGING_FACES, _of_hugging_face)):
        found = _read(weights, name)
        if found is not None:
            try:
                return understood(found)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise BackboneError(
                    f"backbone.weights: {name} of {weights!r} must say how pixels are rescaled, a number or three for "
                    f"each value. Got: {type(error).__name__} {error}. Mend it, or remove it: pixels are then "
                    f"rescaled as the authors of {row.name} did."
                ) from None
    return row.rescaling


def _read(weights: str, name: str) -> Any:
    """The content of a JSON file of a preset, downloaded where it must be; None where it has no such file."""
    from keras_hub.src.utils.preset_utils import get_file  # the public ones have no way to ask for one file

    try:
        with open(get_file(weights, name), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackboneError(f"backbone.weights: {name} of {weights!r} must be readable JSON. Got: {reason}.") from None


def _of_preset(found: Mapping[str, Any]) -> Rescaling:
    """x * scale + offset, `keras_hub.layers.ImageConverter`; an old preset has a mean and a variance instead."""
    config = found["config"]
    scale = 1.0 if config.get("scale") is None else config["scale"]
    if "mean" in config and "variance" in config:
        return normalising(_three(config["mean"]), [one**0.5 for one in _three(config["variance"])], float(scale))
    return Rescaling(_three(scale), _three(0.0 if config.get("offset") is None else config["offset"]))


def _of_hugging_face(found: Mapping[str, Any]) -> Rescaling:
    """(x * rescale_factor - image_mean) / image_std, each of the two steps only where it is asked for."""
    factor = found.get("rescale_factor", 1 / 255) if found.get("do_rescale", True) else 1.0
    if not found.get("do_normalize", True):
        return Rescaling(_three(factor), (0.0, 0.0, 0.0))
    return normalising(_three(found["image_mean"]), _three(found["image_std"]), float(factor))


def _three(value: Any) -> Three:
    numbers = [float(one) for one in (value if isinstance(value, list) else [value])]
    red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    return red, green, blue
