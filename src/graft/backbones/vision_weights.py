"""KerasHub's own networks for images, from a folder, a preset, or drawn: for images of the size that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graft.backbones.text import CONFIG
from graft.backbones.vision import PARTS, Vision
from graft.errors import BackboneError


def keras_hub(row: Vision) -> Any:
    """The package. Raises BackboneError where it is not installed."""
    try:
        import keras_hub as hub
    except ImportError as error:
        raise BackboneError(
            f"backbone.name: {row.name} needs KerasHub ({error}). Install it: pip install 'graft-transfer[hub]'."
        ) from None
    return hub


def drawn(row: Vision, side: int) -> Any:
    """With random weights, of the size in PARTS."""
    require_patches(row, PARTS[row.name]["patch_size"], side)
    models = keras_hub(row).models
    arguments: dict[str, Any] = PARTS[row.name] | {"image_shape": (side, side, 3)}
    if row.name == "SigLIP":
        return models.SigLIPVisionEncoder(**arguments)
    whole = getattr(models, f"{row.name}Backbone")(**arguments)
    return _without_what_is_not_read(row, whole) if row.any_size else whole


def from_files(row: Vision, weights: str, side: int) -> Any:
    """weights: a folder, or the name of a preset; of SigLIP what reads images alone.

    Raises BackboneError where it cannot be had, or not for images of `side` pixels.
    """
    kind = getattr(keras_hub(row).models, f"{row.name}Backbone")
    asked = {"image_shape": (side, side, 3)} if row.any_size else {}
    try:
        whole = kind.from_preset(weights, **asked, **_as_it_was_trained(row, Path(weights)))
    except Exception as error:  # of files, of their content, of the network: whatever KerasHub and its loaders raise
        reason = " ".join(str(error).split())[:300]
        layout = f"in Hugging Face's layout (config.json of model_type {row.layout}, model.safetensors), or "
        raise BackboneError(
            f"backbone.weights: {weights!r} must be a folder with {row.name} {layout if row.layout else ''}as KerasHub "
            f"saves a preset; or the name of a preset of KerasHub's for {row.name}, which is downloaded once; or "
            f"random. Got: {reason}."
        ) from None
    if not isinstance(whole, kind):
        raise BackboneError(f"backbone.name: must be that of the network in {weights!r}. Got {row.name}.")
    if row.any_size:
        return _without_what_is_not_read(row, whole)
    seen = whole.vision_encoder if row.name == "SigLIP" else whole
    if tuple(seen.image_shape[:2]) != (side, side):
        raise BackboneError(
            f"backbone.input_size: must be {seen.image_shape[0]} for the {row.name} in {weights!r}, whose positions "
            f"were trained for images of that size. Got {side}."
        )
    return seen


def _as_it_was_trained(row: Vision, folder: Path) -> dict[str, Any]:
    """What KerasHub's loader does not read of a config.json in Hugging Face's layout."""
    file = folder / CONFIG
    if row.name != "ViT" or not file.is_file():
        return {}
    config = json.loads(file.read_text(encoding="utf-8"))
    return {"layer_norm_epsilon": config["layer_norm_eps"]} if "layer_norm_eps" in config else {}


def _without_what_is_not_read(row: Vision, whole: Any) -> Any:
    """The same DINOv2 or DINOv3, without the token that stood for hidden patches while it was pretrained, and without
    stochastic depth, which KerasHub 0.32 adds as noise instead of leaving steps out.

    And DINOv2's positions are those of the size that it is built for: KerasHub 0.32 keeps those that it was trained
    with beside them, fits the ones to the others as a file is read or written, and writes trained ones only where their
    sum has fallen, so that what is read back would not be what was trained.
    """

    def place(variable: Any) -> str:
        return str(variable.path.removeprefix(f"{whole.name}_"))  # which layers have where the network was given a name

    changes: dict[str, Any] = {"use_mask_token": False, "drop_path_rate": 0.0}
    values = {place(variable): variable for variable in whole.weights}
    if row.name == "DINOV2":
        changes["position_embedding_shape"] = whole.image_shape
        embeddings = whole.embeddings
        values[place(embeddings.position_embeddings)] = embeddings.interpolated_position_embeddings
    own = type(whole).from_config(whole.get_config() | changes)
    for variable in own.weights:
        variable.assign(values[place(variable)])
    if row.name == "DINOV2":
        own.embeddings._is_interpolated_position_embeddings_updated = lambda: True
    return own


def require_patches(row: Vision, patch: int, side: int) -> None:
    """Raises BackboneError where patches of so many pixels do not fill a side."""
    if side % patch:
        lower = max(1, side // patch) * patch
        raise BackboneError(
            f"backbone.input_size: must be a multiple of {patch} for this {row.name}, whose patches have {patch} "
            f"pixels a side, as {lower} or {lower + patch}. Got {side}."
        )
