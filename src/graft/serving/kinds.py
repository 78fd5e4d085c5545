"""What differs by the kind of example where a model is used. To add a kind, add a module and a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.serving import images, texts

if TYPE_CHECKING:
    import pandas as pd

    from graft.inputs.spec import Arrays


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Kind:
    """whole: what the bytes of an example must be, for a message. The last argument of each function is the input spec.

    single(given): the examples in what `predict` was given. require(data): raises UndecodableError where bytes are no
    example, or too much of one. in_memory(one, place): the arrays of an example that is not bytes; raises DataError
    where it is none. columns(): of a table of examples. rows(table): the examples in one. before_loading(): what the
    network's layers need, imported.
    """

    whole: str
    single: Callable[[Any, Any], Iterator[Any]]
    require: Callable[[bytes, Any], None]
    in_memory: Callable[[Any, int, Any], Arrays]
    columns: Callable[[Any], tuple[str, ...]]
    rows: Callable[[pd.DataFrame, Any], list[Any]]
    before_loading: Callable[[], None] = _nothing


KINDS: dict[str, Kind] = {
    "image": Kind("a whole image file", images.single, images.require, images.in_memory, images.columns, images.rows),
    "text": Kind(
        "a text that can be used",
        texts.single,
        texts.require,
        texts.in_memory,
        texts.columns,
        texts.rows,
        texts.before_loading,
    ),
}
"""Kind of a card's input -> its row."""
