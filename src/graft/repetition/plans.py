"""What is trained again: the recipe of params.yaml with one value changed, on the pipeline's split or on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.errors import StaleError, TrainingError
from graft.examples import catalogue
from graft.examples.checks import duplicates
from graft.examples.splitting.make import make_split

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

SEEDS = 2**31


@dataclass(frozen=True)
class Plan:
    """name: for a reader. params: what is trained with. sides: a table of `make_split`; None: the split there is.

    extracts: whether `extract` runs for it, too, since the params ask for other features than those that are there.
    """

    name: str
    params: Params
    sides: pd.DataFrame | None = None
    extracts: bool = False


def head_only(params: Params) -> Params:
    """The same recipe without fine-tuning. A head that fine-tuning would go on from is judged as it is trained."""
    if not params.finetune.enabled:
        return params
    without = {"enabled": False, "temperature": "none"}
    return params.model_copy(update={"finetune": params.finetune.model_copy(update=without)})


def consecutive(params: Params, n: int) -> list[int]:
    """The seed of params.yaml and the n - 1 after it."""
    return list(range(params.seed, params.seed + n))


def by_seed(params: Params, seeds: Sequence[int]) -> list[Plan]:
    """The same split; the head's first weights, what dropout drops, the order of examples and the views drawn differ.

    Fine-tuned where `finetune.enabled`. Raises TrainingError where there are not two different seeds, or nothing is
    trained.
    """
    _require_training(params)
    wrong = [seed for seed in seeds if not 0 <= seed < SEEDS]
    if wrong or len(set(seeds)) < len(seeds) or len(seeds) < 2:
        raise TrainingError(
            f"--seeds: must be at least two different seeds from 0 to 2^31 - 1. Got {', '.join(map(str, seeds))}."
        )
    return [Plan(f"seed {seed}", params.model_copy(update={"seed": seed})) for seed in seeds]


def by_fold(params: Params, paths: Paths) -> list[Plan]:
    """All folds of `data.split.fold`, whatever `data.split.method` is: the splits that `prepare` makes with folds.

    Raises TrainingError where nothing is trained, StaleError where the files of `prepare` are of different passes, and
    what `make_split` raises.
    """
    _require_training(params)
    used, copies = splittable(paths)
    _, n = params.data.split.fold_of
    plans = []
    for k in range(1, n + 1):
        p = params.data.split.model_copy(update={"method": "folds", "fold": f"{k} of {n}"})
        sides, _ = make_split(used, copies, p, params.seed)
        own = params.model_copy(update={"data": params.data.model_copy(update={"split": p})})
        plans.append(Plan(f"fold {p.fold}", own, sides))
    return plans


def _require_training(params: Params) -> None:
    if not params.train.enabled and not params.finetune.enabled:
        raise TrainingError(
            "train.enabled: false, so that no head is trained on features. Repeat the fine-tuning: `--finetune`, with "
            "finetune.enabled: true."
        )


def splittable(paths: Paths) -> tuple[pd.DataFrame, np.ndarray]:
    """The used images as `make_split` takes them, without an official split, and which of them are copies of one.

    From the files of `prepare` alone: no image is needed. Raises StaleError where they are of different passes.
    """
    used = catalogue.read(paths.catalogue).used
    sides = pd.read_csv(paths.split, dtype=str, keep_default_na=False)
    if list(sides["path"]) != list(used["path"]):
        raise StaleError(f"{paths.split}: belongs to another catalogue. Run `dvc repro`.")
    table = used[["path", "label", "sha256"]].assign(
        official=None,
        group=sides.get("group", ""),
        weight=sides["weight"].astype(float) if "weight" in sides else 1.0,
    )
    group_of = duplicates.read(paths.duplicates).set_index("path")["group"]
    copies = table["path"].map(group_of)
    alone = np.arange(len(table)) + int(group_of.max() if len(group_of) else 0) + 1
    return table, np.where(copies.isna(), alone, copies.fillna(0)).astype(np.int64)
