"""Accuracy against milliseconds per image: a line for each network, a star for all its layers together."""

from __future__ import annotations

from pathlib import Path

from graft.evaluation import plots
from graft.probing.judging import Choice, interval


def draw(choice: Choice, kind: str, path: Path) -> None:
    """Every candidate, the best and the cheapest that is as good by name, and the best one's interval as a band.

    kind: of the examples.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for network in sorted({one.network for one in choice.ranked}):
        own = sorted((one for one in choice.ranked if one.network == network), key=lambda one: one.milliseconds)
        line = [one for one in own if not one.together]
        (drawn,) = axis.plot([one.milliseconds for one in line], [one.accuracy for one in line], "o-", label=network)
        for one in (one for one in own if one.together):
            axis.plot(one.milliseconds, one.accuracy, "*", markersize=12, color=drawn.get_color())
    axis.axhspan(*interval(choice.best), alpha=0.15, color="grey", label="95 % interval of the best")
    for one in {id(one): one for one in (choice.best, choice.cheapest)}.values():
        axis.annotate(
            one.layer, (one.milliseconds, one.accuracy), xytext=(0, -14), textcoords="offset points", ha="right"
        )
    axis.set(xlabel=f"milliseconds per {kind} up to the layer, one thread", ylabel=f"accuracy on {kind}s not seen")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    plots.save(figure, path)
