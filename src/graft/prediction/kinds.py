"""How examples are found, by their kind. To add a kind, add a module and a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graft.errors import DataError
from graft.prediction import images, texts
from graft.prediction.files import Kind

if TYPE_CHECKING:
    from graft.serving.classifier import Classifier


def _images(spec: Any, text: str | None, second: str | None) -> Kind:
    for option, column in (("--text", text), ("--second", second)):
        if column is not None:
            raise DataError(
                f"{option}: is of models on texts, and this is one on images. Got {column!r}; leave it out."
            )
    return images.kind()


def _texts(spec: Any, text: str | None, second: str | None) -> Kind:
    return texts.kind(spec.pair, text, second)


KINDS: dict[str, Callable[[Any, str | None, str | None], Kind]] = {"image": _images, "text": _texts}
"""Kind of a card's input -> how its examples are found: by the input spec, and the columns of tables."""


def of(classifier: Classifier, text: str | None = None, second: str | None = None) -> Kind:
    """text, second: columns that the user named. Raises DataError where they are not of such a model."""
    return KINDS[classifier.input.kind](classifier.input, text, second)
