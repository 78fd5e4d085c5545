"""What a pass of the pipeline has given: `graft result` and `graft log`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.config.load import load
from graft.errors import StaleError
from graft.pipeline import layout

COLUMNS = ("model", "split", "images", "accuracy", "interval", "macro F1", "log loss", "ECE")
WIDTH = 90


def log() -> None:
    """Log the pass that the files hold to MLflow; does nothing where it is there already."""
    params, paths = load(), layout.read()
    from graft.tracking import run as tracking

    tracking.require_whole(params, paths)
    typer.echo(tracking.complete(params, paths, running=None))


def result(
    metrics: Annotated[Path | None, typer.Argument(help="What `graft evaluate` wrote; the last run's.")] = None,
) -> None:
    """Print how good the models are, and where to look further."""
    path = metrics or layout.read().metrics
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StaleError(f"{path}: must be written by `graft evaluate`. Run `dvc repro`. Got: {error}") from None
    table = Table(box=None, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, no_wrap=True, justify="left" if column in ("model", "split") else "right")
    for model, splits in values.items():
        for split, m in splits.items():
            interval = m["accuracy_interval"]
            table.add_row(
                model,
                split,
                f"{m['images']}",
                f"{m['accuracy']:.4f}",
                f"{interval['low']:.3f}-{interval['high']:.3f} ({interval['confidence']:.0%})",
                f"{m['macro_f1']:.4f}",
                f"{m['log_loss']:.4f}",
                f"{m['expected_calibration_error']:.4f}",
            )
    console = Console(width=max(WIDTH, Console().width))
    console.print()
    if any(values.values()):
        console.print(table)
    else:
        console.print("No image was held out for validation or test (data.split): nothing to judge the models by.")
    console.print(
        "\nWhere to look (first: . .venv/bin/activate)\n"
        "  mlflow ui           every run: params, curves, metrics, plots, model\n"
        "  dvc plots show      training curves and confusion matrix as a page\n"
        "  dvc metrics diff    what changed since the last commit\n"
        "  models/model.keras  the model, on pixels in [0, 255]\n"
        "To go on: change params.yaml, run `dvc repro`, compare."
    )
