"""`graft backbones`: what networks there are, what weights are here, where a network can be cut."""

from __future__ import annotations

import math
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from graft.backbones import cuts, known_cuts, portable
from graft.backbones.table import BACKBONES, Backbone, get, keras_models
from graft.runtime import numerics
from graft.runtime.tensorflow import start_tensorflow

BOUNDARY_BYTES = 2
"""The bytes of a float16, which activations are."""

WIDTH = 140
"""Columns the table needs; a narrower terminal wraps lines rather than words."""


app = typer.Typer(help="List the backbones and what weights are available here.", invoke_without_command=True)


@app.callback()
def backbones(context: typer.Context) -> None:
    """List the backbones and what weights are available here; `show NAME` lists where one can be cut."""
    if context.invoked_subcommand is None:
        table()


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of the table.")],
    alpha: Annotated[float | None, typer.Option(help="Width multiplier; 1 where not given.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Side in pixels; the usual one where not given.")] = None,
) -> None:
    """List the layers that `finetune.cut` may name for a backbone, what is stored there, and the compute below."""
    cut_points(name, alpha, input_size)


SAME = {portable.ANY: "as it is", portable.AVX2: "held to AVX2", portable.NONE: "with tensorflow"}
"""What `numerics: portable` takes for the same bytes of OpenVINO's features on every processor."""


def _same_bytes(row: Backbone) -> str:
    """For the widths with ImageNet weights; those that differ from the first one are named."""
    by_width = {alpha: portable.depends_on(row.name, alpha) for alpha in row.alphas or (None,)}
    common = max(by_width.values(), key=list(by_width.values()).count)
    others = [f"{alpha:g}: {SAME[how]}" for alpha, how in by_width.items() if how != common and alpha is not None]
    return "; ".join([SAME[common], *others])


def weights_here(row: Backbone) -> str:
    """Which pretrained weights can be loaded on this machine without a network; random ones always can."""
    bundled = [f"bundled ({row.bundled.alpha:g})"] if row.bundled else []
    cached = len(list(keras_models().glob(row.weights_glob)))
    imagenet = [f"imagenet ({cached} files)" if row.alphas else "imagenet"] if cached else []
    return ", ".join([*bundled, *imagenet]) or "-"


def table() -> None:
    """Every row of the table of backbones."""
    shown = Table(box=None, header_style="bold")
    for column in ("backbone", "features", "min", "usual", "preprocessing", "alpha", "same bytes", "weights here"):
        shown.add_column(column, no_wrap=True, justify="right" if column in ("features", "min", "usual") else "left")
    for row in BACKBONES.values():
        shown.add_row(
            row.name,
            str(row.feature_dim),
            str(row.min_input_size),
            str(row.default_input_size),
            row.preprocessing,
            " ".join(f"{alpha:g}" for alpha in row.alphas) or "-",
            _same_bytes(row),
            weights_here(row),
        )
    console = Console(width=max(WIDTH, Console().width))
    console.print(shown)
    console.print(
        "same bytes: what numerics: portable takes for the same features on every x86-64 processor with AVX2. "
        "Held to AVX2, extraction is up to half as fast; with tensorflow likewise."
    )
    console.print(f"ImageNet weights are looked for in {keras_models()} and downloaded there by Keras.")


def cut_points(name: str, alpha: float | None, input_size: int | None) -> None:
    """The layers that `finetune.cut` may name, nearest the input first, and what is stored and saved there.

    alpha, input_size: None for full width and the usual size, which need no TensorFlow.
    """
    row = get(name)
    side = input_size or row.default_input_size
    points = known_cuts.known(name)
    if alpha is not None or input_size is not None:
        numerics.apply("portable")
        start_tensorflow()
        from graft.backbones import build

        points = cuts.derive(build.build(name, alpha or (1.0 if row.alphas else None), side, "random", 0).model)
    shown = Table(box=None, header_style="bold")
    shown.add_column("finetune.cut")
    for column in ("layers from it on", "activations", "bytes per image", "compute below"):
        shown.add_column(column, justify="right")
    for layer, point in points.points.items():
        stored = math.prod(point.shape) * BOUNDARY_BYTES
        shape = "x".join(map(str, point.shape))
        shown.add_row(layer, str(point.layers), shape, f"{stored:,}", f"{point.below:.1%}")
    width = f", alpha {alpha or 1:g}" if row.alphas else ""
    console = Console(width=max(WIDTH, Console().width))
    console.print(
        f"{name} at {side} px{width}: {points.layers} layers, {len(points.points)} cut points", highlight=False
    )
    console.print(shown)
