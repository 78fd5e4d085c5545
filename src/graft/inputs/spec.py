"""What every kind of example offers: from the bytes of a file to the arrays that a network reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
"""Name of an input of the network -> its array."""

Signature = Mapping[str, tuple[tuple[int | None, ...], str]]
"""Input name -> shape of one example, dtype. None: a size that differs between examples; zeros are nothing there."""


USUAL = 32
"""A size that a signature leaves open, where the time of a call is measured."""


class UndecodableError(Exception):
    """The bytes are no example that graft reads. reason: a few words, of all such ones. detail: of this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(": ".join(filter(None, (reason, detail))))
        self.reason, self.detail = reason, detail


class InputSpec(Protocol):
    """Frozen and picklable, so that it can travel to another process and into a model's card.

    augment: what views are drawn by, None where there are none. names: what the arrays are of, for a message.
    libraries: packages whose versions the arrays depend on.
    """

    @property
    def augment(self) -> Mapping[str, Any] | None: ...

    @property
    def libraries(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> str: ...

    @property
    def kind(self) -> str:
        """Its name in `graft.inputs.KINDS`."""

    def fingerprint(self, augmented: bool) -> dict[str, Any]:
        """Every value that can change an array. augmented: of views other than the example as it is."""

    def signature(self) -> Signature:
        """What the arrays of one example are."""

    @property
    def longest(self) -> int | None:
        """The most that a size may be which the signature leaves open; None where it leaves none open."""

    def arrays(self, data: bytes, sha256: str, views: Sequence[int]) -> list[Arrays]:
        """The arrays of each view; view 0 is the example as it is.

        data: of its file. sha256: of `data`, 64 hex digits; views are drawn from it.
        """

    def is_cut(self, data: bytes) -> bool:
        """Whether the network reads less than all of an example. Raises UndecodableError."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `kind` is among them. Views are left out: they matter to training alone."""
