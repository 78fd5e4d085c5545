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

KINDS: dict[str, Callable[[Mapping[str, Any]], InputSpec]] = {
    "image": ImageInput.from_dict,
}
"""kind -> its spec from what `to_dict` gives."""


def of(params: Params) -> InputSpec:
    """The spec that params.yaml describes. All sources so far give images."""
    return ImageInput.of(params.backbone, params.extract)
