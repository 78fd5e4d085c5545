"""The bytes of a text example: UTF-8 of one text, or of two with a NUL between them.

A NUL inside a text is a control character, for which `prepare` sets the text aside; so none is ambiguous.
"""

from __future__ import annotations

from collections.abc import Sequence

SEPARATOR = "\0"


def joined(texts: Sequence[str]) -> bytes:
    """The bytes of one or two texts. Half a surrogate pair, which JSON can hold, makes bytes that are not UTF-8."""
    return SEPARATOR.join(texts).encode("utf-8", "surrogatepass")


def parts(data: bytes) -> list[str]:
    """One or two texts, without a byte order mark before the first. Raises UnicodeDecodeError."""
    return data.decode("utf-8-sig").split(SEPARATOR)
