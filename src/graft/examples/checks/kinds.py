"""What `prepare` does with an example that depends on its kind. To add a kind, add a module and a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.examples.checks import images, near_images, near_texts, texts
from graft.examples.checks.examination import examine_all
from graft.examples.checks.examined import Examined, Judgement, Looks
from graft.examples.checks.runners.base import Runner

if TYPE_CHECKING:
    from graft.config.data import DataParams


@dataclass(frozen=True)
class Kind:
    """examine(data, paths, runner): what each file is, as it is found out, with its number; by a runner as far as the
    kind has a use for one. judge(path, verdict, data): what that means for the catalogue.

    measured(verdict, data): the two numbers that `catalogue.MEASURES` names. look(verdict): what copies are found by.
    copies(table, looks, data): (n,) the number of each one's group.
    """

    examine: Callable[[DataParams, Sequence[str], Runner], Iterator[tuple[int, Examined[Any]]]]
    judge: Callable[[str, Any, DataParams], Judgement]
    measured: Callable[[Any, DataParams], tuple[int, int]]
    look: Callable[[Any], bytes]
    copies: Callable[[pd.DataFrame, Looks, DataParams], np.ndarray]


KINDS: dict[str, Kind] = {
    "image": Kind(examine_all, images.judge, images.measured, near_images.look, images.copies),
    "text": Kind(texts.examine, texts.judge, texts.measured, near_texts.look, texts.copies),
}
"""data.kind -> its row."""
