"""Whether a process elsewhere works with what the one has that asked, so that its answers are the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.errors import SurroundingsError


def require(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises SurroundingsError where they differ, naming what does.

    wanted: code, libraries, processor, and whatever else changes an answer, of the process that asked; mappings inside
        mappings. found: of this one.
    """
    if found != wanted:
        raise SurroundingsError(
            "ray: every machine of the cluster must compute with what the one has on which graft was started. "
            f"Different: {'; '.join(_differences(wanted, found))}. Install the same there, or let graft start where "
            "such machines are."
        )


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """'numpy must be 2.3.1, is 2.2.0', of each that differs."""
    lines = []
    for name in wanted:
        here, there = wanted[name], found.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            lines += _differences(here, there)
        elif here != there:
            lines.append(f"{name} must be {_short(here)}, is {_short(there)}")
    return lines


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
