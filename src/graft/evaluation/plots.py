"""Pictures for MLflow and `dvc plots`: training curves, confusion, reliability."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.evaluation.metrics import Judged, reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LABELLED = 30
"""Classes up to which a confusion matrix names each row."""


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """A PNG without date or version, so that the same picture is the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, bbox_inches="tight", metadata={"Software": None})


def curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss and accuracy by epoch, a column per training stage; the kept epoch is marked."""
    figure = _figure(5 * len(histories), 6)
    axes = figure.subplots(2, len(histories), squeeze=False)
    for column, (stage, history) in enumerate(histories.items()):
        for axis, metric in zip(axes[:, column], ("loss", "accuracy"), strict=True):
            axis.plot(history["epoch"], history[metric], label="train")
            if history[f"val_{metric}"].notna().any():
                axis.plot(history["epoch"], history[f"val_{metric}"], label="validation")
            best = history.loc[history["best"] == 1, "epoch"]
            if len(best):
                axis.axvline(best.iloc[0], color="grey", linestyle=":", label="kept")
            axis.set(xlabel="epoch", ylabel=metric)
            axis.grid(alpha=0.3)
        axes[0, column].set_title(stage)
        axes[0, column].legend()
    return figure


def confusion(judged: Mapping[str, Judged]) -> Figure:
    """Rows are true classes, shares of each row as shades, counts as numbers; a panel per model."""
    from sklearn.metrics import confusion_matrix

    first = next(iter(judged.values()))
    n = len(first.classes)
    side = max(4.0, min(0.45 * n + 2, 14))
    figure = _figure(side * len(judged), side)
    for axis, (name, j) in zip(figure.subplots(1, len(judged), squeeze=False)[0], judged.items(), strict=True):
        counts = confusion_matrix(j.targets, j.predicted, labels=j.labels)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axis.set(title=name, xlabel="predicted", ylabel="true")
        if n <= MOST_LABELLED:
            axis.set_xticks(range(n), j.classes, rotation=90, parse_math=False)
            axis.set_yticks(range(n), j.classes, parse_math=False)
            for row, column in zip(*np.nonzero(counts), strict=True):
                shade = "white" if shares[row, column] > 0.5 else "black"
                axis.text(column, row, counts[row, column], ha="center", va="center", color=shade, fontsize=8)
    return figure


def calibration(judged: Mapping[str, Judged]) -> Figure:
    """Accuracy against confidence by bin, a point's area as its images; the diagonal is as right as it says."""
    figure = _figure(5, 5)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":", label="calibrated")
    for name, j in judged.items():
        _, counts, confidence, accuracy = reliability(j)
        filled = counts > 0
        area = 4 + 300 * counts[filled] / counts.sum()
        axis.scatter(confidence[filled], accuracy[filled], s=area, alpha=0.7, label=name)
    axis.set(xlabel="confidence", ylabel="accuracy", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


PLOTS: dict[str, Callable[[Mapping[str, pd.DataFrame], Mapping[str, Judged]], Figure | None]] = {
    "curves": lambda histories, judged: curves(histories),
    "confusion": lambda histories, judged: confusion(judged) if judged else None,
    "calibration": lambda histories, judged: calibration(judged) if judged else None,
}
"""name -> (history of each training stage, what each model is judged by) -> a picture; None where that is nothing."""


def write_confusion(predicted: Sequence[str], actual: Sequence[str], path: Path) -> None:
    """A row per image, columns actual and predicted: what DVC's `confusion` template counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"actual": actual, "predicted": predicted}).to_csv(path, index=False, lineterminator="\n")
