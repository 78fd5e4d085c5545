"""What `prepare` does with an example that depends on its kind. To add a kind, add a module and a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.examples.checks import images, texts
from graft.examples.checks.examined import Examined, Judgement
from graft.examples.checks.runners.base import Runner

if TYPE_CHECKING:
    from graft.config.data import DataParams


@dataclass(frozen=True)
class Kind:
    """examine(data, paths, runner): what each file is, examined by a runner as far as the kind has a use for one.

    judge(path, verdict, data): what that means for the catalogue.
    measured(verdict, data): the two numbers that `catalogue.MEASURES` names. looks: fields of a verdict, bytes, that
    copies are found by. copies(usable, data): (n,) the number of each one's group, from a table that has `looks`.
    """

    examine: Callable[[DataParams, Sequence[str], Runner], Sequence[Examined[Any]]]
    judge: Callable[[str, Any, DataParams], Judgement]
    measured: Callable[[Any, DataParams], tuple[int, int]]
    looks: tuple[str, ...]
    copies: Callable[[pd.DataFrame, DataParams], np.ndarray]


KINDS: dict[str, Kind] = {
    "image": Kind(images.examine, images.judge, images.measured, images.LOOKS, images.copies),
    "text": Kind(texts.examine, texts.judge, texts.measured, texts.LOOKS, texts.copies),
}
"""data.kind -> its row."""
