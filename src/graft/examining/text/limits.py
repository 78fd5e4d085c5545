"""What is no text for a model in use, for the very reasons for which `prepare` sets a text aside."""

from __future__ import annotations

from graft.examining.text.examine import look
from graft.inputs.spec import UndecodableError
from graft.inputs.text.parts import SEPARATOR, parts

MOST_CHARACTERS = 100_000
"""Of a text: the default of `data.max_characters`."""

BYTES_PER_CHARACTER = 4
"""At most, in UTF-8."""


def most_bytes(pair: bool) -> int:
    """More bytes than these are too long a text, whatever they say. pair: whether there are two."""
    return BYTES_PER_CHARACTER * MOST_CHARACTERS * (1 + pair) + BYTES_PER_CHARACTER  # and NUL, or a mark


def require_text(data: bytes, pair: bool) -> None:
    """Raises UndecodableError where the bytes are no text, or no pair of texts, that can be used."""
    if len(data) > most_bytes(pair):
        raise UndecodableError("too long", f"{len(data)} bytes, more than {MOST_CHARACTERS:,} characters can have")
    if pair and SEPARATOR.encode() not in data:
        raise UndecodableError("one text", "where the model reads pairs, as bytes with a zero byte between them")
    verdict = look(data, pair, len(data))
    if verdict.reason:
        raise UndecodableError(verdict.reason, verdict.detail)
    longest = max(map(len, parts(data)))
    if longest > MOST_CHARACTERS:
        raise UndecodableError("too long", f"{longest} characters, more than {MOST_CHARACTERS:,}")
