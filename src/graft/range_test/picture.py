"""Loss against learning rate, with the rate that is suggested and the one that params.yaml has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from graft.range_test.measure import Curve


def draw(curve: Curve, now: float, title: str) -> Figure:
    """now: the rate in params.yaml."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(curve.rates, curve.losses, color="tab:blue", alpha=0.25, label="loss of a batch")
    axis.plot(curve.rates, curve.smoothed, color="tab:blue", label="smoothed")
    axis.axvline(curve.suggested, color="tab:green", linestyle="--", label=f"suggested: {curve.suggested:g}")
    axis.axvline(now, color="grey", linestyle=":", label=f"params.yaml: {now:g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss", title=title)
    axis.set_ylim(0, 1.5 * max(curve.smoothed[: curve.least + 1].max(), curve.smoothed[0]))
    axis.grid(alpha=0.3)
    axis.legend()
    return figure
