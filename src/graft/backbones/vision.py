"""Every image network of KerasHub's, one row each; `tests/test_vision.py` drives them.

No TensorFlow here, and no KerasHub: the command line and the checks of params.yaml read this table. A row is apart
from `table`'s, whose networks come with Keras, and need no files to say how large they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Three = tuple[float, float, float]
"""A number for each of the channels red, green and blue."""


@dataclass(frozen=True)
class Rescaling:
    """What happens to pixels in [0, 255] before the network: x * scale + offset."""

    scale: Three
    offset: Three

    @property
    def words(self) -> str:
        """For a model's card."""
        scale, offset = (", ".join(f"{one:.7g}" for one in numbers) for numbers in (self.scale, self.offset))
        return f"x * scale + offset with scale ({scale}) and offset ({offset})"


def normalising(mean: Sequence[float], std: Sequence[float], factor: float = 1 / 255) -> Rescaling:
    """(x * factor - mean) / std, as Hugging Face's image processors say it."""
    scale = [factor / one for one in std]
    offset = [-one / other for one, other in zip(mean, std, strict=True)]
    return Rescaling((scale[0], scale[1], scale[2]), (offset[0], offset[1], offset[2]))


HALVES = normalising([0.5] * 3, [0.5] * 3)
"""From -1 to 1: of ViT (https://arxiv.org/abs/2010.11929, its code) and of SigLIP."""

IMAGENET = normalising((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""ImageNet's mean and standard deviation: of DINOv2 and DINOv3."""


@dataclass(frozen=True)
class Vision:
    """A row. name: that of KerasHub's class, less `Backbone`.

    layout: `model_type` of its files in Hugging Face's layout, where KerasHub reads it; "" where there is none, so that
        it must be a preset of KerasHub's.
    any_size: whether it can be built for another input size than its files were trained at.
    summary: the vector of an image that `extract.pooling: cls` takes.
    rescaling: of the family, where a network's own files say nothing; of a loaded network, what it is.
    """

    name: str
    layout: str
    any_size: bool
    summary: str
    rescaling: Rescaling

    preprocessing = "built-in"
    """As `graft.backbones.table` calls it: the network rescales pixels itself."""

    is_network = True


CLASS_TOKEN, POOLER = "its class token", "its attention pooler's"

VISION: dict[str, Vision] = {
    row.name: row
    for row in (
        Vision("ViT", "vit", False, CLASS_TOKEN, HALVES),
        Vision("DINOV2", "dinov2", True, CLASS_TOKEN, IMAGENET),
        Vision("DINOV3", "dinov3_vit", True, CLASS_TOKEN, IMAGENET),
        Vision("SigLIP", "", False, POOLER, HALVES),
    )
}


def is_vision(name: str) -> bool:
    """Whether a network is one of KerasHub's for images."""
    return name in VISION


RANDOM = "random"
"""A value of `backbone.weights`."""

PARTS: dict[str, dict[str, int]] = {
    "ViT": {"num_layers": 12, "hidden_dim": 192, "num_heads": 3, "mlp_dim": 768, "patch_size": 16},
    "DINOV2": {"num_layers": 12, "hidden_dim": 384, "num_heads": 6, "intermediate_dim": 1536, "patch_size": 14},
    "DINOV3": {"num_layers": 12, "hidden_dim": 384, "num_heads": 6, "intermediate_dim": 1536, "patch_size": 16},
    "SigLIP": {"num_layers": 12, "hidden_dim": 768, "num_heads": 12, "intermediate_dim": 3072, "patch_size": 16},
}
"""With `weights: random`: the smallest that its authors published (ViT-Ti/16, ViT-S/14, ViT-S/16, ViT-B/16)."""
