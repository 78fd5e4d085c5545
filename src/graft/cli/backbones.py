"""`graft backbones`: what networks there are, what they cost, what weights are here, where a network can be cut."""

from __future__ import annotations

import math
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from graft.backbones import cuts, encoders, known_cuts
from graft.backbones.automatic import FULL_WIDTH
from graft.backbones.table import BACKBONES, Backbone, get, keras_models
from graft.backbones.vision import is_vision
from graft.cli import text_backbones, vision_backbones
from graft.errors import BackboneError
from graft.features.engines import portable
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from graft.runtime.progress import say

BOUNDARY_BYTES = 2
"""The bytes of a float16, which activations are."""

WIDTH = 100
"""Columns the tables need; a narrower terminal wraps lines rather than words."""


app = typer.Typer(help="List the backbones, what they cost and what weights are here.", invoke_without_command=True)


@app.callback()
def backbones(context: typer.Context) -> None:
    """List the backbones, what they cost and what weights are here; `show NAME` lists where one can be cut."""
    if context.invoked_subcommand is None:
        table()


@app.command()
def measure(
    names: Annotated[list[str] | None, typer.Argument(help="Names of the table; all where none is given.")] = None,
) -> None:
    """Measure how many images a second networks take here, once; the table shows it from then on."""
    from graft.features import speed

    for name in names or ():
        text_backbones.refuse(name)
    rows = [get(name) for name in names or BACKBONES]
    numerics.apply("portable")
    start_tensorflow()
    for row in rows:
        say(f"{row.name} at {row.default_input_size} px: {speed.measure(row):.3g} images/s")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of the table.")],
    alpha: Annotated[float | None, typer.Option(help="Width multiplier; 1 where not given.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Side in pixels; the usual one where not given.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of a network of KerasHub's: the folder of its files, or a preset.")
    ] = None,
) -> None:
    """List the layers that `finetune.cut` may name for a backbone, what is stored there, and the compute below."""
    console = Console(width=max(WIDTH, Console().width))
    if is_vision(name):
        if alpha is not None:
            raise BackboneError(
                f"--alpha: must be given for networks that come with Keras alone. Leave out, for {name}."
            )
        vision_backbones.cut_points(name, weights, input_size, console)
        return
    of_texts = encoders.is_text(name)
    wrong = (alpha, input_size) if of_texts else (weights,)
    if any(one is not None for one in wrong):
        options, kind = ("--alpha and --input-size", "read images") if of_texts else ("--weights", "are KerasHub's")
        raise BackboneError(f"{options}: must be given for networks that {kind} alone. Leave out, for {name}.")
    if of_texts:
        text_backbones.cut_points(name, weights, console)
    else:
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
    if not row.is_network:
        return "needs none"
    bundled = [f"bundled ({row.bundled.alpha:g})"] if row.bundled else []
    cached = len(list(keras_models().glob(row.weights_glob)))
    imagenet = [f"imagenet ({cached})" if row.alphas else "imagenet"] if cached else []
    return ", ".join([*bundled, *imagenet]) or "-"


def table() -> None:
    """Every row of the table of backbones."""
    from graft.features import speed

    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    numbers = ("parameters", "GFLOPs", "features", "pixels", "images/s", "MB/1,000")
    for column in ("backbone", *numbers, "weights here"):
        shown.add_column(column, no_wrap=True, justify="right" if column in numbers else "left", min_width=len(column))
    for row in BACKBONES.values():
        network, rate = known_cuts.known(row.name), speed.known(row)
        shown.add_row(
            row.name,
            f"{network.parameters / 1e6:.1f} M",
            f"{2 * network.multiply_adds / 1e9:.1f}",
            str(row.feature_dim),
            str(row.default_input_size),
            "-" if rate is None else f"{rate:,.3g}",
            "-" if (cut := cuts.default(network)) is None else f"{_stored_bytes(network.points[cut]) / 1e3:.0f}",
            weights_here(row),
        )
    console = Console(width=max(WIDTH, Console().width))
    console.print(shown, highlight=False)
    console.print(
        "At the usual size in pixels and full width, without the top. GFLOPs: two for each multiply-add.\n"
        "images/s: of the frozen network, here, as `graft backbones measure [NAME...]` finds and keeps.\n"
        "MB/1,000: what 1,000 images take at finetune.cut: auto; each view takes as much again.\n"
        "weights here: of bundled ones the width, of ImageNet's how many widths.",
        highlight=False,
    )
    console.print(f"Keras looks for ImageNet's in {keras_models()}, and downloads them there.", highlight=False)
    for more in (vision_backbones.table(), text_backbones.table()):
        console.print()
        console.print(more, highlight=False)


def _stored_bytes(cut: cuts.Cut) -> int:
    """Of the activations of one image."""
    return math.prod(cut.shape) * BOUNDARY_BYTES


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

        points = cuts.derive(build.build(name, alpha or (FULL_WIDTH if row.alphas else None), side, "random", 0).model)
    shown = Table(box=None, header_style="bold")
    shown.add_column("finetune.cut")
    for column in ("layers from it on", "activations", "bytes per image", "compute below"):
        shown.add_column(column, justify="right")
    for layer, point in points.points.items():
        shape = "x".join(map(str, point.shape))
        shown.add_row(layer, str(point.layers), shape, f"{_stored_bytes(point):,}", f"{point.below:.1%}")
    width = f", alpha {alpha or FULL_WIDTH:g}" if row.alphas else ""
    console = Console(width=max(WIDTH, Console().width))
    widths = f"widths with ImageNet weights: {', '.join(f'{one:g}' for one in row.alphas)}\n" if row.alphas else ""
    console.print(
        f"{name} at {side} px{width}: {points.layers} layers, {points.parameters:,} parameters, "
        f"{2 * points.multiply_adds / 1e9:.2f} GFLOPs\n{len(points.points)} cut points, auto: {cuts.default(points)}\n"
        f"pixels: at least {row.min_input_size} x {row.min_input_size}, preprocessed as {row.preprocessing}\n{widths}"
        f"same bytes on every x86-64 processor with AVX2: {_same_bytes(row)} (numerics: portable; held to AVX2 or with "
        "tensorflow, extraction is up to half as fast)",
        highlight=False,
    )
    console.print(shown)
