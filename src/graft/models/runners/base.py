"""What a runner is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from graft.features.store import Stored


@dataclass(frozen=True)
class Job:
    """What is to be solved, in words that another process understands.

    open_features, build_head: what this process has, for one that has neither; they can be pickled. numerics: of
    params.yaml.
    """

    open_features: Callable[[], Stored]
    build_head: Callable[[], keras.Model]
    numerics: str
