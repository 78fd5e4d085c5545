"""KerasHub's image networks, taken apart into blocks: pixels -> a token for each patch of the image.

KerasHub has all blocks of such a network inside one layer. Here they stand one after the other, each behind a layer
that only names the place, so that one tensor alone crosses between two and the network can be cut there: `block_i` is
where block i begins, as in a network for texts. The first layer rescales pixels, so that it is part of every file.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.backbones import build, rescaling
from graft.backbones.encoders import FIRST
from graft.backbones.text import BLOCK, CONFIG
from graft.backbones.vision import PARTS, RANDOM, Vision
from graft.errors import BackboneError

if TYPE_CHECKING:
    import keras

    from graft.config.schema import BackboneParams

@dataclass(frozen=True)
class Parts:
    """A network of KerasHub's in the order of its data: `before` the blocks, `blocks`, `norm`.

    patch: side in pixels. others: tokens before those of the patches, the class token the first of them. head: makes
    one vector of all tokens, None where there is a class token for that. beside(x, i): what block i reads beside x.
    """

    before: Sequence[Any]
    blocks: Sequence[Any]
    norm: Any
    patch: int
    others: int
    head: Any = None
    beside: Callable[[Any, int], dict[str, Any]] = lambda x, i: {}

    @property
    def layers(self) -> list[Any]:
        return [*self.before, *self.blocks, self.norm, *([self.head] if self.head is not None else [])]


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

    try:
        import keras_hub
    except ImportError as error:
        raise BackboneError(
            f"backbone.name: {row.name} needs KerasHub ({error}). Install it: pip install 'graft-transfer[hub]'."
        ) from None
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(backbone.random_seed)
    kind = getattr(keras_hub.models, f"{row.name}Backbone")
    side = backbone.input_size
    if backbone.weights == RANDOM:
        whole = _drawn(keras_hub.models, row, side)
    else:
        whole = _from_files(kind, row, backbone.weights, side)
        row = replace(row, rescaling=rescaling.of(row, backbone.weights))
    parts = TAKEN_APART[row.name](whole)
    _require_patches(row, parts.patch, side)
    for layer in parts.layers:
        if type(layer).__module__.startswith(keras_hub.__name__):
            _make_readable(layer)
    model = _in_a_row(row, parts, side, whole.name)
    digested = model if parts.head is None else keras.Model(model.inputs[0], parts.head(model.outputs[0]))
    return Patches(build.Loaded(row, model, build.digest(digested)), parts, side // parts.patch)  # type: ignore[arg-type]


def _drawn(models: Any, row: Vision, side: int) -> Any:
    """With random weights, of the size in PARTS."""
    _require_patches(row, PARTS[row.name]["patch_size"], side)
    arguments: dict[str, Any] = PARTS[row.name] | {"image_shape": (side, side, 3)}
    if row.name == "SigLIP":
        return models.SigLIPVisionEncoder(**arguments)
    positions = {"position_embedding_shape": (side, side)} if row.name == "DINOV2" else {}
    return getattr(models, f"{row.name}Backbone")(**arguments, **positions)


def _from_files(kind: Any, row: Vision, weights: str, side: int) -> Any:
    """KerasHub's network, for images of `side` pixels."""
    asked = {"image_shape": (side, side, 3)} if row.any_size else {}
    try:
        whole = kind.from_preset(weights, **asked, **_as_it_was_trained(row, Path(weights)))
    except Exception as error:  # of files, of their content, of the network: whatever KerasHub and its loaders raise
        reason = " ".join(str(error).split())[:300]
        layout = f" in Hugging Face's layout (config.json of model_type {row.layout}, model.safetensors) or" * bool(
            row.layout
        )
        raise BackboneError(
            f"backbone.weights: {weights!r} must be a folder with {row.name}{layout} as KerasHub saves a preset, or the "
            f"name of a preset of KerasHub's for {row.name}, which is downloaded once; or random. Got: {reason}."
        ) from None
    if not isinstance(whole, kind):
        raise BackboneError(f"backbone.name: must be that of the network in {weights!r}. Got {row.name}.")
    if row.name == "DINOV2":
        return _of_its_own_size(whole)
    seen = whole.vision_encoder if row.name == "SigLIP" else whole
    if tuple(seen.image_shape[:2]) != (side, side):
        raise BackboneError(
            f"backbone.input_size: must be {seen.image_shape[0]} for the {row.name} in {weights!r}, since its positions "
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


def _of_its_own_size(whole: Any) -> Any:
    """The same DINOv2, its positions those of the size that it is built for.

    KerasHub keeps the positions that it was trained with beside those that it computes with, fits the ones to the
    others as a file is read or written, and writes trained ones only where their sum has grown: what is read back
    would not be what was trained.
    """
    config = whole.get_config() | {"position_embedding_shape": whole.image_shape}
    own = type(whole).from_config(config)
    fitted = whole.embeddings.interpolated_position_embeddings
    for ours, theirs in zip(own.weights, whole.weights, strict=True):
        ours.assign(fitted if theirs is whole.embeddings.position_embeddings else theirs)
    own.embeddings._is_interpolated_position_embeddings_updated = lambda: True
    return own


def _require_patches(row: Vision, patch: int, side: int) -> None:
    if side % patch:
        lower = max(1, side // patch) * patch
        raise BackboneError(
            f"backbone.input_size: must be a multiple of {patch} for this {row.name}, whose patches have {patch} pixels "
            f"a side, as {lower} or {lower + patch}. Got {side}."
        )


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


def _vit(whole: Any) -> Parts:
    encoder = whole.get_layer("vit_encoder")
    before = [whole.get_layer("vit_patching_and_embedding"), *([encoder.dropout] if encoder.dropout_rate else [])]
    return Parts(before, encoder.encoder_layers, encoder.layer_norm, whole.patch_size[0], int(whole.use_class_token))


def _dinov2(whole: Any) -> Parts:
    others = 1 + whole.num_register_tokens
    return Parts([whole.embeddings], whole.encoder.layers, whole.layernorm, whole.patch_size, others)


def _dinov3(whole: Any) -> Parts:
    """Each block has the rotation of its positions by itself: else it would cross between all blocks, beside x."""
    import keras

    side, rope, others = whole.image_shape[0], whole.rope_embedding, 1 + whole.num_register_tokens

    def beside(x: Any, i: int) -> dict[str, Any]:
        own = type(rope).from_config(rope.get_config() | {"name": f"rotation_{i}"})
        like_pixels = keras.ops.broadcast_to(x[:1, :1, :1, None], (1, side, side, 1))  # its size is all that is read
        return {"position_embeddings": own(like_pixels), "num_prefix_tokens": others}

    return Parts([whole.embeddings], whole.encoder.layers, whole.layernorm, whole.patch_size, others, beside=beside)


def _siglip(encoder: Any) -> Parts:
    before, blocks, norm = [encoder.embedding], encoder.encoder_layers, encoder.post_layer_norm
    return Parts(before, blocks, norm, encoder.patch_size, 0, encoder.head)


TAKEN_APART: dict[str, Callable[[Any], Parts]] = {
    "ViT": _vit,
    "DINOV2": _dinov2,
    "DINOV3": _dinov3,
    "SigLIP": _siglip,
}
"""Name of a row of `vision` -> how its network is taken apart."""
