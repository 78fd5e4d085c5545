"""What `graft backbones` says of networks that read texts: which there are, and where to cut one that is here."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from graft.backbones import cuts
from graft.backbones.encoders import ENCODERS
from graft.backbones.vision import VISION
from graft.errors import BackboneError
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

TOKEN_BYTES = 2
"""The bytes of a float16, which activations are."""


def table() -> Table:
    """A row for each network of the table."""
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("for texts", "backbone.weights: a folder in Hugging Face's layout", "or a preset of KerasHub's"):
        shown.add_column(column, no_wrap=True)
    for row in ENCODERS.values():
        shown.add_row(row.name, f"model_type {row.layout}" if row.layout else "-", "yes")
    return shown


def refuse(name: str) -> None:
    """Raises BackboneError for a network of KerasHub's, whose speed is that of its files."""
    if name in ENCODERS or name in VISION:
        raise BackboneError(
            f"graft backbones measure: must be given networks that come with Keras. Got {name}, whose files tell how "
            "large it is; `graft probe` measures it."
        )


def cut_points(name: str, weights: str | None, console: Console) -> None:
    """The layers that `finetune.cut` may name. weights: a folder, or a preset of KerasHub's; None says what to do."""
    if weights is None:
        console.print(
            f"{name} reads texts. Its files tell how many blocks it has: block_0, block_1 and so on are its cuts, "
            f"after {cuts.INPUT}. `graft backbones show {name} --weights FOLDER` lists them.",
            highlight=False,
        )
        return
    numerics.apply("portable")
    start_tensorflow()
    from graft.backbones import build

    points = cuts.derive(build.build(name, None, 0, weights, 0).model)
    shown = Table(box=None, header_style="bold")
    shown.add_column("finetune.cut")
    for column in ("layers from it on", "activations", "bytes per token", "compute below"):
        shown.add_column(column, justify="right")
    for layer, point in points.points.items():
        n_bytes = math.prod(point.shape) * TOKEN_BYTES
        shown.add_row(layer, str(point.layers), f"{point.shape[-1]}", f"{n_bytes:,}", f"{point.below:.1%}")
    console.print(
        f"{name} of {Path(weights).name}: {points.layers} layers, {points.parameters:,} parameters, "
        f"{2 * points.multiply_adds / 1e9:.3f} GFLOPs a token, without what attention multiplies\n"
        f"{len(points.points)} cut points, auto: {cuts.default(points)}\nsame bytes on every x86-64 processor with "
        "AVX2: with tensorflow (numerics: portable)",
        highlight=False,
    )
    console.print(shown)
