"""How an example's bytes become arrays. To add a kind of example, add a row.

`spec` says what every kind offers; `image` is the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from graft.inputs.image.spec import ImageInput
from graft.inputs.spec import InputSpec

if TYPE_CHECKING:
    from graft.config.schema import Params

KINDS: dict[str, Callable[..., InputSpec]] = {
    "image": ImageInput.from_dict,
}
"""kind -> its spec from what `to_dict` gives and, for views, the ranges and seed of augmentation."""


def recorded(made_with: Mapping[str, Any]) -> InputSpec:
    """The spec that made an array. made_with: of its `meta.json`."""
    return KINDS[made_with["input"]["kind"]](made_with["input"], made_with["augment"])


def of(params: Params) -> InputSpec:
    """The spec that params.yaml describes. All sources so far give images."""
    return ImageInput.of(params.backbone, params.extract)
