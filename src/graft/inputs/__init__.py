"""How an example's bytes become arrays. To add a kind of example, add a row.

`spec` says what every kind offers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graft.inputs.image.spec import ImageInput
from graft.inputs.spec import InputSpec
from graft.inputs.text.spec import TextInput

if TYPE_CHECKING:
    from graft.config.schema import Params

KINDS: dict[str, type[ImageInput] | type[TextInput]] = {
    "image": ImageInput,
    "text": TextInput,
}
"""data.kind -> its spec: `of` params.yaml, or `from_dict` of what `to_dict` gives and, for views, their `augment`."""


def recorded(made_with: Mapping[str, Any]) -> InputSpec:
    """The spec that made an array. made_with: of its `meta.json`."""
    return KINDS[made_with["input"]["kind"]].from_dict(made_with["input"], made_with["augment"])


def of(params: Params) -> InputSpec:
    """The spec that params.yaml describes. Raises BackboneError where what it needs is not there."""
    pair = params.data.source == "manifest" and params.data.manifest.columns.second is not None
    return KINDS[params.data.kind].of(params.backbone, params.extract, pair)
