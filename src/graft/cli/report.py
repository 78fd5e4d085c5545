"""`graft report`: a page about the model that ships, what it got wrong and where it looked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graft.cli.compare import Split
from graft.config import yaml_file
from graft.config.load import FILE, load
from graft.errors import StaleError, TrackingError, listing
from graft.pipeline import layout, lock
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

OUTPUT = Path("data/report/model.html")


def report(
    split: Annotated[
        Split | None, typer.Option(help="Whose examples to show; without it test, or validation where nothing tests.")
    ] = None,
    images: Annotated[int, typer.Option(help="Pictures of each kind, at most.", min=0)] = 12,
    out: Annotated[Path, typer.Option(help="The page to write.")] = OUTPUT,
) -> None:
    """Write a page about the model: what it got wrong, how sure it was, where it looked, what fine-tuning changed.

    Run `dvc repro` first. The page is also an artefact of the pass's run in MLflow.
    """
    params, paths = load(), layout.read()
    judged = [paths.metrics, paths.predictions, paths.model, paths.card]
    if all(path.exists() for path in judged) and (stale := lock.changed(yaml_file.read(FILE), judged)):
        raise StaleError(
            f"{FILE}: must be what the model was made with, and the files as `dvc.lock` has them. Different: "
            f"{listing(stale, 5)}. Run `dvc repro`."
        )
    numerics.apply(params.numerics)
    start_tensorflow()
    from graft.reporting import page

    page.write(
        params.data.source, Path(params.data.path), paths, out, split, images, bins=params.evaluate.calibration_bins
    )
    say(_logged(params, paths, out))
    typer.echo(str(out))


def _logged(params: Params, paths: Paths, out: Path) -> str:
    """Logs the page; says where, or why it is in no run."""
    from graft.tracking import pages

    try:
        name = pages.attach(params, paths, out)
    except TrackingError as error:
        return f"note: the page is not in MLflow. {error}"
    if name is None:
        return "note: the page is not in MLflow, which has no run of this pass. `graft log` makes one."
    return f"MLflow run: {name} ({pages.ARTEFACT})"
