"""What the models of a pass said of the images that were held out: the files that `evaluate` wrote, read together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graft.errors import DataError, StaleError, listing
from graft.evaluation import predictions, summary
from graft.evaluation.metrics import Judged, accuracy
from graft.examples.sources.base import SPLITS

PROBABILITY = "p:"
"""How columns of probabilities begin."""


@dataclass(frozen=True)
class Answers:
    """Of one model on one split. paths: of the images, in the order of every array."""

    paths: list[str]
    judged: Judged

    @property
    def right(self) -> np.ndarray:
        """(n,) bool"""
        return np.asarray(self.judged.predicted == self.judged.targets)

    @property
    def confidence(self) -> np.ndarray:
        """(n,) the probability of what is predicted."""
        return np.asarray(self.judged.probabilities.max(axis=1))


@dataclass(frozen=True)
class Evaluated:
    """figures: model -> split -> metric, as in `data/evaluation.json`; the model that ships is the last.

    table: a row for each model and image, as in `data/predictions.parquet`.
    """

    figures: summary.Judged
    table: pd.DataFrame
    classes: list[str]

    @property
    def ships(self) -> str:
        """The name of the model that ships."""
        return summary.shipped(self.figures) or ""

    @property
    def splits(self) -> list[str]:
        """Those that have images, the one that says most first."""
        judged = self.figures[self.ships] if self.ships else {}
        return [name for name in reversed(SPLITS) if name in judged]

    def of(self, model: str, split: str, bins: int) -> Answers:
        """bins: of confidence."""
        rows = self.table[(self.table["model"] == model) & (self.table["split"] == split)]
        figures = self.figures[model][split]
        numbers = {name: number for number, name in enumerate(self.classes)}
        judged = Judged(
            rows[[f"{PROBABILITY}{name}" for name in self.classes]].to_numpy(np.float32),
            rows["label"].map(numbers).to_numpy(np.int64),
            self.classes,
            top_k=1,
            calibration_bins=bins,
            confidence=figures["accuracy_interval"]["confidence"],
            temperature=figures.get("temperature", {}).get("value"),
        )
        return Answers(list(rows["path"]), judged)


def read(metrics: Path, predicted: Path) -> Evaluated:
    """metrics: `data/evaluation.json`. predicted: `data/predictions.parquet`.

    Raises StaleError where one is missing, damaged, or of another run than the other; DataError where nothing was held
    out.
    """
    figures = _figures(metrics)
    try:
        table = pd.read_parquet(predicted)
        classes = [name.removeprefix(PROBABILITY) for name in table.columns if name.startswith(PROBABILITY)]
        if missing := [name for name in predictions.TEXTS if name not in table.columns]:
            raise ValueError(f"no column {listing(missing)}")
    except (OSError, ValueError) as error:  # what pyarrow raises of a damaged file is a ValueError
        raise StaleError(f"{predicted}: must be written by `evaluate`. Run `dvc repro`. Got: {_line(error)}") from None
    found = Evaluated(figures, table, classes)
    if not found.splits:
        raise DataError(
            "data.split: must hold examples out for validation or test, and held out none: there is nothing to report "
            "of a model that nothing has judged. Change it in params.yaml and run `dvc repro`."
        )
    for model, splits in figures.items():
        for split, one in splits.items():
            answers = found.of(model, split, bins=1)
            if len(answers.paths) != one["images"] or abs(accuracy(answers.judged) - one["accuracy"]) > 1e-9:
                raise StaleError(
                    f"{predicted}: must be of the same run of `evaluate` as {metrics}. Their accuracies of {model} on "
                    f"{split} differ. Run `dvc repro`."
                )
    return found


def _figures(path: Path) -> Mapping[str, Any]:
    try:
        figures: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        needed = {"images", "accuracy", "accuracy_interval", "per_class"}
        if not all(needed <= set(one) for splits in figures.values() for one in splits.values()):
            raise ValueError("figures of another version of graft")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StaleError(f"{path}: must be written by `evaluate`. Run `dvc repro`. Got: {_line(error)}") from None
    return figures


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
