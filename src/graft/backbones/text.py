"""KerasHub's text encoders, on tokens that know their own padding.

A text is an array of tokens (length, 2): one more than the token's number in the vocabulary, and its segment (0 for the
first text, 1 for the second). A row of zeros is padding, and stays one: what comes out of the embeddings and of each
block is zero there, so that every block can tell its own mask. One tensor alone crosses between two blocks, as in a
network for images, and the network can be cut there: its layer `block_i` is where block i begins.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.backbones import hub
from graft.backbones.encoders import FIRST, Encoder
from graft.errors import BackboneError

if TYPE_CHECKING:
    import keras

BLOCK = "block_"
"""The layer where block i begins is called so, with i."""

CONFIG = "config.json"


def encoder(row: Encoder, weights: str) -> keras.Model:
    """tokens (n, length, 2) -> the last block's output (n, length, width) float32, zero where there is padding.

    weights: a folder in Hugging Face's layout, or of a KerasHub preset, or the name of one.
    Raises BackboneError where it cannot be had, with what to do about it.
    """
    package = hub.keras_hub()
    try:
        whole = getattr(package.models, f"{row.name}Backbone").from_preset(weights)
    except Exception as error:  # of files, of their content, of the network: whatever KerasHub and its loaders raise
        reason = " ".join(str(error).split())[:300]
        raise BackboneError(
            f"backbone.weights: {weights!r} must be a folder with {row.name} in Hugging Face's layout (config.json, "
            f"model.safetensors, its vocabulary), or a preset of KerasHub's for {row.name}, which is downloaded once. "
            f"Got: {reason}."
        ) from None
    if not isinstance(whole, getattr(package.models, f"{row.name}Backbone")):
        raise BackboneError(f"backbone.name: must be that of the network in {weights!r}. Got {row.name}.")
    _as_it_was_trained(whole, Path(weights))
    return _rewired(whole)


def _as_it_was_trained(whole: keras.Model, folder: Path) -> None:
    """GELU by the error function where the folder's config says so; KerasHub's BERT has the approximation by tanh."""
    import keras

    file = folder / CONFIG
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if config.get("hidden_act", config.get("activation")) != "gelu":
        return
    for layer in whole.layers:
        if _is_block(layer) and hasattr(layer, "_feedforward_intermediate_dense"):
            layer.activation = layer._feedforward_intermediate_dense.activation = keras.activations.gelu


def _is_block(layer: Any) -> bool:
    return "padding_mask" in inspect.signature(layer.call).parameters


def _rewired(whole: keras.Model) -> keras.Model:
    """The same layers, from tokens to the sequence's output; what nothing reads, as BERT's pooler, is left out."""
    import keras

    tokens = keras.Input((None, 2), name="tokens")
    start = keras.layers.Identity(name=FIRST)(tokens)
    numbers, segments = start[..., 0], start[..., 1]
    real = keras.ops.cast(numbers > 0, "float32")
    given = {
        "token_ids": keras.ops.cast(keras.ops.maximum(numbers - 1, 0), "int32"),
        "segment_ids": keras.ops.cast(segments, "int32"),
        "padding_mask": keras.ops.cast(real, "int32"),
    }
    blocks = 0

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal blocks
        if "padding_mask" not in kwargs:
            return layer(*args, **kwargs)
        x, *others = args
        if not blocks:
            x = x * keras.ops.expand_dims(real, -1)
        x = keras.layers.Identity(name=f"{BLOCK}{blocks}")(x)
        blocks += 1
        mask = present(x)
        kwargs["padding_mask"] = keras.ops.cast(mask, "int32")
        return layer(x, *others, **kwargs) * keras.ops.expand_dims(mask, -1)

    names = list(whole.input)
    sequence = whole.output["sequence_output"] if isinstance(whole.output, dict) else whole.output
    inside = keras.Model([whole.input[name] for name in names], sequence)
    # As keras.models.clone_model does, which gives no way to add the tokens beside the inputs.
    output = inside._run_through_graph([given[name] for name in names], operation_fn=lambda layer: layer, call_fn=call)
    return keras.Model(tokens, output, name=whole.name)


def present(x: Any) -> Any:
    """(n, length, width) -> (n, length) float32: 1 where there is a token, 0 where there is padding."""
    import keras

    return keras.ops.cast(keras.ops.max(keras.ops.abs(x), axis=-1) > 0, "float32")


def pooled(x: Any, how: str) -> Any:
    """(n, length, width), zero at padding -> (n, width): the mean or largest over the tokens, or the first one's."""
    import keras

    if how == "cls":
        return x[:, 0]
    real = keras.ops.expand_dims(present(x), -1)
    if how == "max":
        return keras.ops.max(x + (real - 1) * keras.ops.cast(1e30, "float32"), axis=1)
    return keras.ops.sum(x, axis=1) / keras.ops.maximum(keras.ops.sum(real, axis=1), 1)
