"""What differs on a page by the kind of example. To add a kind, add a module, a template and a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graft.reporting import pictures, texts


@dataclass(frozen=True)
class Kind:
    """many: what examples are called. seen_as: what a page shows of them. template: the page.

    context(model, card, reader, paths, questions): what the template shows, the answers to the questions among it.
    """

    many: str
    seen_as: str
    template: str
    context: Callable[..., dict[str, Any]]


KINDS: dict[str, Kind] = {
    "image": Kind("images", "pictures", "image.html.j2", pictures.context),
    "text": Kind("texts", "texts", "text.html.j2", texts.context),
}
"""Kind of a card's input -> its row."""
