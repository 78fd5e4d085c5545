"""`graft card`: what there is to know of a model, as Markdown."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graft.cli.predict import LAST
from graft.config.load import load
from graft.errors import GraftError
from graft.pipeline import layout
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.tracking.origin import Finished


def card(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A run in MLflow, by its id or name.", show_default=f"the run that made {LAST}"
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Or a model's file or folder, or its address in MLflow (models:/NAME@champion).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write, instead of printing it.")] = None,
) -> None:
    """Write a model's card: data, protocol, results with intervals, calibration, what it gets wrong, its limits, and
    the command that reproduces it. All of it is read from the model's run in MLflow.
    """
    if run and model:
        raise GraftError("RUN and --model: one of them must be given, or none. Got both; leave one out.")
    params = load()
    from graft.tracking import origin, server

    with server.faults():
        found = origin.runs_of(origin.connected(params.tracking.experiment), run or model or LAST)
        if len(found) > 1:
            say(f"note: {len(found)} runs have made this model; the card is of the newest, {found[0].shown}")
        text = written(found[0])
    if out is None:
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(str(out))


def written(run: Finished) -> str:
    """The card of a finished run. Raises GraftError where the run lacks what it takes."""
    from graft.registry import card as cards
    from graft.tracking import evidence

    with tempfile.TemporaryDirectory() as folder:
        return cards.write(evidence.fetch(run, layout.read(), Path(folder)))
