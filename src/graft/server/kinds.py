"""What differs by the kind of example where a model is served. To add a kind, add a module, a page and a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.server import images, texts

if TYPE_CHECKING:
    from graft.features.engines.base import Forward
    from graft.server.bodies import Asked
    from graft.serving.classifier import Classifier

Explain = Callable[[Any], dict[str, Any]]
"""An example, as a classifier takes it -> what /explain answers. Raises DataError where it is none."""


@dataclass(frozen=True)
class Kind:
    """one, many: what examples are called. page: the template for people.

    read(body, content type, whether examples are pairs): raises BodyError. explained: None where it cannot be.
    """

    one: str
    many: str
    page: str
    read: Callable[[bytes, str, bool], Asked]
    explained: Callable[[Classifier, Forward], Explain | None]


KINDS: dict[str, Kind] = {
    "image": Kind("an image", "images", "image.html.j2", images.read, images.explained),
    "text": Kind("a text", "texts", "text.html.j2", texts.read, texts.explained),
}
"""Kind of a card's input -> its row."""
