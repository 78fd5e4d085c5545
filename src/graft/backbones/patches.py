"""KerasHub's image networks, taken apart into blocks: pixels -> a token for each patch of the image.

KerasHub has all blocks of such a network inside one layer. Here they stand one after the other, each behind a layer
that only names the place, so that one tensor alone crosses between two and the network can be cut there: `block_i` is
where block i begins, as in a network for texts. The first layer rescales pixels, so that it is part of every file.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graft.backbones import build, rescaling, vision_weights
from graft.backbones.encoders import FIRST
from graft.backbones.text import BLOCK
from graft.backbones.vision import RANDOM, Vision
from graft.backbones.vision_parts import TAKEN_APART, Parts
from graft.errors import BackboneError

if TYPE_CHECKING:
    import keras

    from graft.config.schema import BackboneParams


@dataclass(frozen=True)
class Patches:
    """loaded: pixels (n, side, side, 3) in [0, 255] -> tokens (n, others + places**2, width) float32.

    places: along a side, each a patch.
    """

    loaded: build.Loaded
    parts: Parts
    places: int

    def read(self, pooling: str | None) -> build.Loaded:
        """The same network with an output that `build.feature_model` pools: the map of its patches (n, places, places,
        width), or for cls the one vector of an image. Raises BackboneError where it has none."""
        import keras

        (tokens,) = self.loaded.model.outputs
        if pooling != "cls":
            patches = tokens[:, self.parts.others :]
            output = keras.layers.Reshape((self.places, self.places, tokens.shape[-1]), name="map")(patches)
        elif self.parts.head is not None:
            output = self.parts.head(tokens)
        elif self.parts.others:
            output = tokens[:, 0]
        else:
            raise BackboneError(
                f"extract.pooling: must be avg, max or null for this {self.loaded.row.name}, which has no class token. "
                "Got 'cls'."
            )
        model = self.loaded.model
        return replace(self.loaded, model=keras.Model(model.inputs[0], output, name=model.name))


def load(row: Vision, backbone: BackboneParams) -> Patches:
    """The network of params.yaml `backbone`. Raises BackboneError where it cannot be had, with what to do about it."""
    import keras

    hub = vision_weights.keras_hub(row)
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(backbone.random_seed)
    side = backbone.input_size
    if backbone.weights == RANDOM:
        whole = vision_weights.drawn(row, side)
    else:
        whole = vision_weights.from_files(row, backbone.weights, side)
        row = replace(row, rescaling=rescaling.of(row, backbone.weights))
    parts = TAKEN_APART[row.name](whole)
    vision_weights.require_patches(row, parts.patch, side)
    for layer in parts.layers:
        if type(layer).__module__.startswith(hub.__name__):
            _make_readable(layer)
    model = _in_a_row(row, parts, side, whole.name)
    digested = model if parts.head is None else keras.Model(model.inputs[0], parts.head(model.outputs[0]))
    return Patches(build.Loaded(row, model, build.digest(digested)), parts, side // parts.patch)  # type: ignore[arg-type]


def _make_readable(layer: Any) -> None:
    """Leave out of a layer's config what its class does not take: KerasHub 0.32's ViT could not be read from a file."""
    kind = type(layer)
    takes = {"name", "trainable", "dtype", *inspect.signature(kind.__init__).parameters}
    layer.get_config = lambda: {key: value for key, value in kind.get_config(layer).items() if key in takes}


def _in_a_row(row: Vision, parts: Parts, side: int, name: str) -> keras.Model:
    """The layers of a network one after the other, from pixels to its tokens."""
    import keras

    layers = keras.layers
    pixels = keras.Input((side, side, 3), name="pixels")
    x = layers.Identity(name=FIRST)(pixels)
    x = layers.Rescaling(list(row.rescaling.scale), list(row.rescaling.offset), name="rescaling")(x)
    for layer in parts.before:
        x = layer(x)
    count = parts.others + (side // parts.patch) ** 2
    if x.shape[1] != count:  # KerasHub 0.32 says one more than SigLIP's embeddings are, and computes as many as it has
        x = x[:, :count]
    for i, block in enumerate(parts.blocks):
        x = layers.Identity(name=f"{BLOCK}{i}")(x)
        x = block(x, **parts.beside(x, i))
    return keras.Model(pixels, parts.norm(x), name=name)
