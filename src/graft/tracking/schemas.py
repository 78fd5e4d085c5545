"""What a logged model takes, in MLflow's words, by the kind of its examples. To add a kind, add a row."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.inputs.text.parts import parts
from graft.serving import images, texts

if TYPE_CHECKING:
    from mlflow.types.schema import Schema


@dataclass(frozen=True)
class Kind:
    """inputs(input of a card): the schema of a table of examples. table(example): one with its bytes, for JSON.

    requirements: packages that its models need beside those that every model does.
    """

    inputs: Callable[[Mapping[str, Any]], Schema]
    table: Callable[[bytes], dict[str, Any]]
    requirements: tuple[str, ...] = ()


def _of_image(spec: Mapping[str, Any]) -> Schema:
    from mlflow.types.schema import ColSpec, DataType, Schema

    return Schema([ColSpec(DataType.binary)])


def _image(example: bytes) -> dict[str, Any]:
    return {"columns": [images.COLUMN], "data": [[base64.b64encode(example).decode("ascii")]]}


def _of_text(spec: Mapping[str, Any]) -> Schema:
    """A single column has no name: MLflow takes no plain list of texts for a named one."""
    from mlflow.types.schema import ColSpec, DataType, Schema

    names = texts.COLUMNS if spec["pair"] else (None,)
    return Schema([ColSpec(DataType.string, name) for name in names])


def _text(example: bytes) -> dict[str, Any]:
    found = parts(example)
    return {"columns": list(texts.COLUMNS[: len(found)]), "data": [found]}


KINDS: dict[str, Kind] = {
    "image": Kind(_of_image, _image),
    "text": Kind(_of_text, _text, ("keras-hub", "tokenizers")),
}
"""Kind of a card's input -> its row."""
