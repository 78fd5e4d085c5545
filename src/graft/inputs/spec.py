"""What every kind of example offers: from the bytes of a file to the arrays that a network reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
"""Name of an input of the network -> its array."""


class InputSpec(Protocol):
    """Frozen and picklable, so that it can travel to another process and into a model's card."""

    @property
    def kind(self) -> str:
        """Its name in `graft.inputs.KINDS`."""

    def fingerprint(self, augmented: bool) -> dict[str, Any]:
        """Every value that can change an array. augmented: of views other than the example as it is."""

    def signature(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Input name -> shape of one example, dtype."""

    def arrays(self, data: bytes, sha256: str, views: Sequence[int]) -> list[Arrays]:
        """The arrays of each view; view 0 is the example as it is.

        data: of its file. sha256: of `data`, 64 hex digits; views are drawn from it.
        """

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `kind` is among them. Views are left out: they matter to training alone."""
