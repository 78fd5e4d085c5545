"""Accuracy against labels, and against what was spent: a line for each way, its seeds as a band."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.study.few_shot import MODEL_OF, means

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw(points: pd.DataFrame) -> Figure:
    """points: of `few_shot.table`. Both horizontal axes are logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    by_labels, by_compute = figure.subplots(1, 2, sharey=True)
    summed = means(points)
    for way in (one for one in MODEL_OF if one in set(summed["way"])):
        line = summed[summed["way"] == way]
        (drawn,) = by_labels.plot(line["images_per_class"], line["accuracy"], marker="o", label=way)
        by_labels.fill_between(
            line["images_per_class"], line["lowest"], line["highest"], alpha=0.2, color=drawn.get_color(), linewidth=0
        )
        by_compute.plot(line["multiply_adds"], line["accuracy"], marker="o", label=way, color=drawn.get_color())
    ticks = summed.drop_duplicates("shots")
    by_labels.set(xscale="log", xlabel="labels of each class", ylabel="accuracy on validation examples")
    by_labels.set_xticks(ticks["images_per_class"], ticks["shots"], minor=False)
    by_labels.set_xticks([], minor=True)
    by_compute.set(xscale="log", xlabel="multiply-adds, in 1e12")
    for axis in (by_labels, by_compute):
        axis.grid(alpha=0.3)
    by_labels.legend(loc="lower right")
    return figure
