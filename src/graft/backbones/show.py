"""The tables that `graft backbones` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from graft.backbones import cuts
from graft.backbones.table import BACKBONES, Backbone, get, keras_models

WIDTH = 120
"""Columns the table needs; a narrower terminal wraps lines rather than words."""


def weights_here(row: Backbone) -> str:
    """Which pretrained weights can be loaded on this machine without a network; random ones always can."""
    bundled = [f"bundled ({row.bundled.alpha:g})"] if row.bundled else []
    cached = len(list(keras_models().glob(row.weights_glob)))
    imagenet = [f"imagenet ({cached} files)" if row.alphas else "imagenet"] if cached else []
    return ", ".join([*bundled, *imagenet]) or "-"


def table() -> None:
    """Every row of the table of backbones."""
    shown = Table(box=None, header_style="bold")
    for column in ("backbone", "features", "min", "usual", "preprocessing", "alpha", "weights here"):
        shown.add_column(column, no_wrap=True, justify="right" if column in ("features", "min", "usual") else "left")
    for row in BACKBONES.values():
        shown.add_row(
            row.name,
            str(row.feature_dim),
            str(row.min_input_size),
            str(row.default_input_size),
            row.preprocessing,
            " ".join(f"{alpha:g}" for alpha in row.alphas) or "-",
            weights_here(row),
        )
    console = Console(width=max(WIDTH, Console().width))
    console.print(shown)
    console.print(f"ImageNet weights are looked for in {keras_models()} and downloaded there by Keras.")


def cut_points(name: str) -> None:
    """The layers that `finetune.cut` may name, nearest the input first."""
    get(name)
    points = cuts.known(name)
    shown = Table(box=None, header_style="bold")
    shown.add_column("finetune.cut")
    shown.add_column("layers from it on", justify="right")
    for layer, count in points.points.items():
        shown.add_row(layer, str(count))
    Console().print(f"{name}: {points.layers} layers, {len(points.points)} cut points")
    Console().print(shown)
