"""`graft export`: the model for other runtimes, behind a parity gate. What dvc.yaml calls, too, for each format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.cli.predict import LAST
from graft.config.load import load
from graft.config.schema import ExportParams
from graft.errors import ParamsError, StaleError, listing, unknown
from graft.inputs.spec import USUAL
from graft.pipeline import layout, session
from graft.project import lock
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import import_tensorflow, start_tensorflow

if TYPE_CHECKING:
    from graft.stages.export import Figures

Names = list[str] | None

TIMED = {"image": "one square image", "text": f"one text of {USUAL} tokens"}
"""Kind of example -> what milliseconds are of."""


def export(
    to: Annotated[
        Names,
        typer.Option(
            help="tflite, onnx, openvino, saved_model or keras; several: again, or with commas. Otherwise export.to.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        Names,
        typer.Option(
            help="float32, float16 or int8; several likewise. Otherwise export.precision.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model.keras with card.json beside it, or its address in MLflow. Otherwise models/model.keras.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(help="Instead: write the head alone, of a model on a frozen network, into this folder."),
    ] = None,
) -> None:
    """Write the model for other runtimes; compare each file with it on validation examples, and measure it.

    What loses more than export.max_accuracy_drop is not kept, and fails.
    """
    if head is not None:
        _head(model, head)
        return
    params, paths, exports = load(), layout.read(), layout.exports()
    formats = _named(to, "to") or list(params.export.to)
    if not formats:
        raise ParamsError(
            "graft export", ["--to: must name formats where export.to in params.yaml is empty. Got none."]
        )
    precisions = _named(precision, "precision")
    missing = [str(path) for path in (paths.catalogue, paths.split) if not path.exists()]
    if missing:
        raise StaleError(
            f"{listing(missing)}: must be there, since validation examples judge an exported file. Run `dvc repro` or "
            "`dvc pull`."
        )
    lock.require_current("export")
    numerics.apply(params.numerics)
    start_tensorflow()
    from graft.stages import export as stage
    from graft.tracking import exports as tracking
    from graft.tracking.model import load as load_model

    session.note_execution("export")
    classifier = load_model(model or paths.model)
    found = stage.run(params, paths, exports, classifier, formats, precisions)
    _show(found, classifier.input.kind)
    own = model is None or Path(model).absolute() == paths.model.absolute()
    tracking.log(params, paths, exports, found, own)


def _head(model: str | None, folder: Path) -> None:
    """`graft serve --heads` serves several on one network."""
    import_tensorflow()
    from graft.prediction import heads
    from graft.prediction.heads import HEAD
    from graft.tracking.model import load as load_model

    heads.write(heads.of(load_model(model or LAST)), folder)
    size = (folder / HEAD).stat().st_size
    typer.echo(f"{folder / HEAD}: {size / 1e3:.0f} kB, with card.json, which names the network that it needs")


def _named(given: Sequence[str] | None, option: str) -> list[str]:
    """The names of an option that may come again, or with commas. Raises ParamsError for one that there is not."""
    kind: Any = ExportParams.model_fields[option].annotation
    known = kind.__args__[0].__args__
    names = [name.strip() for text in given or [] for name in text.split(",") if name.strip()]
    faults = [f"--{option}: {unknown(name, known)}" for name in names if name not in known]
    if faults:
        raise ParamsError("graft export", faults)
    return list(dict.fromkeys(names))


def _show(found: Figures, kind: str) -> None:
    table = Table(box=None, header_style="bold")
    for name in (
        "format",
        "precision",
        "MB",
        "accuracy",
        "Keras",
        "agreement",
        "max |Δp|",
        "p",
        "ms",
        "ms, all",
        "RAM MB",
    ):
        table.add_column(name, justify="left" if name in ("format", "precision") else "right")
    for name, precisions in found.items():
        for precision, one in precisions.items():
            ms = one["milliseconds"]
            table.add_row(
                name,
                precision,
                f"{one['megabytes']:.2f}",
                f"{one['accuracy']:.4f}",
                f"{one['keras_accuracy']:.4f}",
                f"{one['agreement']:.4f}",
                f"{one['largest_probability_difference']:.4f}",
                f"{one['mcnemar_p']:.2f}",
                *(f"{ms[threads]['median']:.1f}/{ms[threads]['p95']:.1f}" for threads in ("one_thread", "all_threads")),
                f"{one['peak_megabytes']:.0f}",
            )
    Console(width=120).print(table)
    typer.echo(f"On the validation {kind}s. ms: median/95th percentile of {TIMED[kind]}, one thread and all of them.")
