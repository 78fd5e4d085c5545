"""Memory that was let go, back to the system: pyarrow and the C library keep it until they want as much again."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back() -> None:
    """Worth its milliseconds behind what has held much."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):  # of the C library of most Linux systems alone
        ctypes.CDLL(None).malloc_trim(0)
