"""What `graft backbones` says of KerasHub's networks for images: which there are, and where to cut one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from graft.backbones import cuts
from graft.backbones.vision import PARTS, RANDOM, VISION
from graft.config.schema import BackboneParams
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

FLOAT16_BYTES = 2
"""Of a number, as activations are stored."""

USUAL_SIDE = 224
"""Pixels, of which the patches of every family of the table are a divisor."""


def table() -> Table:
    """A row for each network of the table."""
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("KerasHub's for images", "Hugging Face's folder", "preset", "pixels", "cls"):
        shown.add_column(column, no_wrap=True)
    for row in VISION.values():
        layout = f"model_type {row.layout}" if row.layout else "-"
        pixels = f"multiple of {PARTS[row.name]['patch_size']}" if row.any_size else "as its files"
        shown.add_row(row.name, layout, "yes", pixels, row.summary)
    return shown


def cut_points(name: str, weights: str | None, input_size: int | None, console: Console) -> None:
    """The layers that `finetune.cut` may name. weights: a folder, or a preset of KerasHub's; None: the smallest of the
    family, with random ones. input_size: in pixels, None for the usual one."""
    numerics.apply("portable")
    start_tensorflow()
    from graft.backbones import networks

    side = input_size or USUAL_SIDE
    meant: dict[str, Any] = {
        "name": name,
        "alpha": None,
        "input_size": side,
        "weights": weights or RANDOM,
        "random_seed": 0,
    }
    loaded = networks.of(BackboneParams.model_construct(None, **meant))
    points = cuts.derive(loaded.model)
    shown = Table(box=None, header_style="bold")
    shown.add_column("finetune.cut")
    for column in ("layers from it on", "activations", "bytes per image", "compute below"):
        shown.add_column(column, justify="right")
    for layer, point in points.points.items():
        shape, n_bytes = "x".join(map(str, point.shape)), math.prod(point.shape) * FLOAT16_BYTES
        shown.add_row(layer, str(point.layers), shape, f"{n_bytes:,}", f"{point.below:.1%}")
    whose = f"of {Path(weights).name}" if weights else "of its smallest published size (--weights FOLDER: of yours)"
    console.print(
        f"{name} {whose} at {side} px: {points.layers} layers, {points.parameters:,} parameters, "
        f"{2 * points.multiply_adds / 1e9:.2f} GFLOPs, without what attention multiplies\n"
        f"{len(points.points)} cut points, auto: {cuts.default(points)}\n"
        f"pixels: {VISION[name].rescaling.words if weights is None else loaded.row.rescaling.words}\n"  # type: ignore[union-attr]
        "same bytes on every x86-64 processor with AVX2: with tensorflow (numerics: portable)",
        highlight=False,
    )
    console.print(shown)
