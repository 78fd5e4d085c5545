"""Where the blocks of each of KerasHub's networks for images are: a function for each row of `vision`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


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
