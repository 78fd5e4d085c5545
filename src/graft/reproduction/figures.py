"""How far the results of a stage lie from those of the original, and how far they may."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graft.evaluation import summary
from graft.features import arrays
from graft.features.store import META
from graft.models import gates
from graft.verdicts import reproduced
from graft.verdicts.words import Reproduced

ROWS = 1024
"""Examples that are compared at a time."""

SPLITS = {"test": "test", "val": "validation"}
"""How a figure's name begins -> its split."""

LOG_LOSS = 0.002
"""Largest difference of a log loss that rounding explains: other late decimals of features and of training."""

SHARE = 0.001
"""Largest share of the examples of a split that may be judged otherwise for the same reason, or one example."""

COMPARED = ("accuracy", "log_loss")
"""Figures by which a model is compared, of each split."""

WORST = (
    Reproduced.BIT_IDENTICAL, Reproduced.WITHIN_TOLERANCE, Reproduced.WITHIN_SEED_NOISE, Reproduced.DIFFERENT,
    Reproduced.NOT_COMPARABLE,
)  # fmt: skip
"""From the best verdict to the worst."""

Evaluation = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""model -> split -> metric."""


@dataclass(frozen=True)
class Figure:
    """A figure of a model, then and now. noise: how far other seeds lie apart, None where it was not measured."""

    name: str
    expected: float
    got: float
    tolerance: float
    noise: float | None
    verdict: Reproduced


def model_of(stage: str, evaluation: Evaluation) -> str | None:
    """Which model tells what a stage gave: `train` its head, what follows the one that ships."""
    return "head" if stage == "train" and "head" in evaluation else summary.shipped(evaluation)


def of_summary(values: Mapping[str, float], model: str) -> Evaluation:
    """What `metrics/summary.json` tells of the model that ships, as an evaluation has it."""
    metric_of = {name: metric for metric, name in summary.NAMES.items()}
    found: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        prefix, _, short = name.partition("_")
        if prefix in SPLITS and short in metric_of:
            found.setdefault(SPLITS[prefix], {})[metric_of[short]] = value
    return {model: found}


def compare(there: Evaluation, here: Evaluation, model: str, noise: Mapping[str, float]) -> list[Figure]:
    """Accuracy and log loss of a model in both evaluations; none where one of them has no such model.

    noise: figure -> how far two seeds lie apart.
    """
    if model not in there or model not in here:
        return []
    expected, got = summary.figures(there, model), summary.figures(here, model)
    found = []
    for prefix, split in SPLITS.items():
        for kind in COMPARED:
            name = f"{prefix}_{kind}"
            if name in expected and name in got:
                images = int(here[model][split]["images"])
                tolerance = max(1 / images, SHARE) if kind == "accuracy" else LOG_LOSS
                found.append(_figure(name, expected[name], got[name], tolerance, noise.get(name)))
    return found


def _figure(name: str, expected: float, got: float, tolerance: float, noise: float | None) -> Figure:
    verdict = reproduced.judge(expected, got, tolerance, noise, False)
    told = Reproduced.DIFFERENT if verdict == Reproduced.OUTSIDE else verdict
    return Figure(name, expected, got, tolerance, noise, told)


def worst(verdicts: list[Reproduced]) -> Reproduced:
    """Of several; not comparable where there are none."""
    return max(verdicts, key=WORST.index, default=Reproduced.NOT_COMPARABLE)


def features(files: Mapping[str, Path], here: Path) -> Reproduced:
    """Two arrays of `extract`, example by example: within tolerance where a gate of `finetune` would let each through.

    files: those of the original's folder, by their names, as far as they are at hand.
    """
    try:
        first, second = arrays.load(files), arrays.load(arrays.files(here))
        precision = json.loads(files[META].read_text(encoding="utf-8"))["made_with"]["precision"]
    except (OSError, ValueError, KeyError):
        return Reproduced.DIFFERENT
    if first.shape != second.shape or first.dtype != second.dtype:
        return Reproduced.DIFFERENT
    allowed = gates.FEATURES[str(first.dtype) if precision == "float32" else precision]
    wide = int(np.prod(first.shape[2:]))
    for start in range(0, first.shape[0], ROWS):
        one, other = (np.asarray(part[start : start + ROWS], np.float32).reshape(-1, wide) for part in (first, second))
        off = np.linalg.norm(one - other, axis=1) / np.maximum(np.linalg.norm(one, axis=1), 1e-12)
        if not float(off.max(initial=0)) <= allowed:
            return Reproduced.DIFFERENT
    return Reproduced.WITHIN_TOLERANCE
