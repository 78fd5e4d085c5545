"""The tables that `graft backbones` prints."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from graft.backbones import cuts
from graft.backbones.table import BACKBONES, Backbone, get


def weights_here(row: Backbone) -> str:
    """Which weights can be loaded on this machine without a network."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    bundled = [f"bundled (alpha {row.bundled.alpha:g})"] if row.bundled else []
    cached = sorted((home / "models").glob(row.weights_glob))
    return ", ".join([*bundled, *(f"imagenet ({file.name})" for file in cached), "random"])


def table() -> None:
    """Every row of the table of backbones."""
    shown = Table(box=None, header_style="bold")
    for column in ("backbone", "alpha", "features", "least input", "usual input", "pixels", "weights here"):
        shown.add_column(column, overflow="fold", no_wrap=column == "backbone")
    for row in BACKBONES.values():
        alphas = " ".join(f"{alpha:g}" for alpha in row.alphas)
        shown.add_row(
            row.name,
            alphas,
            str(row.feature_dim),
            str(row.min_input_size),
            str(row.default_input_size),
            row.preprocessing,
            weights_here(row),
        )
    Console().print(shown)


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
