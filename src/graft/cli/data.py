"""`graft data`: look at the images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graft.config.load import load
from graft.pipeline import layout

app = typer.Typer(help="Look at the images.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at the images."""


@app.command()
def report(
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("data/report.html"),
) -> None:
    """Write a page about the data: counts, sizes, samples, copies side by side, what was set aside and why."""
    params = load()
    from graft.examples import report as page

    page.write(params.data.source, Path(params.data.path), layout.read(), output)
    typer.echo(str(output))
