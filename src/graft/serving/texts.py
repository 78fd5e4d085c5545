"""Texts, and pairs of texts, as callers have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from graft.backbones import hub
from graft.errors import DataError
from graft.examining.text.limits import require_text
from graft.inputs.spec import UndecodableError
from graft.inputs.text.parts import SEPARATOR, joined

if TYPE_CHECKING:
    import pandas as pd

    from graft.inputs.spec import Arrays
    from graft.inputs.text.spec import TextInput

ACCEPTED = {
    False: "a str, the bytes of a text in UTF-8, a pathlib.Path of one, or a list of those",
    True: "a pair of str, (first, second), or a list of pairs",
}
"""Whether the model reads pairs -> what it takes."""

COLUMNS = ("text", "second")
"""Of a table; the second only where the model reads pairs."""


def before_loading() -> None:
    """Raises BackboneError where KerasHub, whose layers a text network has, is not installed."""
    hub.keras_hub()


def single(texts: Any, spec: TextInput) -> Iterator[Any]:
    """One example after the other. Two str are a pair where the model reads pairs, and else two texts."""
    alone = isinstance(texts, str | bytes | bytearray | memoryview | Mapping) or not isinstance(texts, Iterable)
    if alone or (spec.pair and _is_pair(texts)):
        yield texts
    else:
        yield from texts


def _is_pair(one: Any) -> bool:
    return isinstance(one, tuple | list) and len(one) == 2 and all(isinstance(text, str) for text in one)


def require(data: bytes, spec: TextInput) -> None:
    """Raises UndecodableError where the bytes are no text, or no pair, that `prepare` would use."""
    require_text(data, spec.pair)


def in_memory(one: Any, place: int, spec: TextInput) -> Arrays:
    """What the network reads of a str, or of a pair of them. Raises DataError for anything else, UndecodableError."""
    data = as_bytes(one, place, spec)
    require_text(data, spec.pair)
    return spec.arrays(data, "", [0])[0]


def as_bytes(one: Any, place: int, spec: TextInput) -> bytes:
    """The example's bytes. Raises DataError where it is none, UndecodableError where a NUL would divide it anew."""
    if isinstance(one, bytes | bytearray | memoryview):
        return bytes(one)
    if (spec.pair and _is_pair(one)) or (not spec.pair and isinstance(one, str)):
        texts = list(one) if spec.pair else [one]
        if any(SEPARATOR in text for text in texts):
            raise UndecodableError("control characters", "U+0000")
        return joined(texts)
    got = "a pair of str" if _is_pair(one) else type(one).__name__
    what = "pairs of texts" if spec.pair else "single texts"
    raise DataError(f"text {place}: must be {ACCEPTED[spec.pair]}, since the model is one on {what}. Got {got}.")


def columns(spec: TextInput) -> tuple[str, ...]:
    return COLUMNS[: 1 + spec.pair]


def rows(table: pd.DataFrame, spec: TextInput) -> list[Any]:
    """The texts of the column `text`, or of the first where none is called so; with `second`, likewise, pairs."""
    names = columns(spec)
    if set(names) <= set(table.columns):
        table = table[list(names)]
    if table.shape[1] < len(names):
        raise DataError(f"the table must have {len(names)} columns, {' and '.join(names)}. Got {table.shape[1]}.")
    return list(zip(table.iloc[:, 0], table.iloc[:, 1], strict=True)) if spec.pair else list(table.iloc[:, 0])
