"""What a server takes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """body_bytes, examples, seconds: of one request, at most. waiting: requests at once, running ones among them."""

    body_bytes: int = 32 * 2**20
    examples: int = 256
    waiting: int = 256
    seconds: float = 30.0


ALONE = ""
"""The name of a model that has no other beside it."""
