"""`graft params`: look at params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graft.config import doubts, yaml_file
from graft.config.load import FILE, load

app = typer.Typer(help="Look at params.yaml.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at params.yaml."""


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The file to check.")] = FILE) -> None:
    """Say whether params.yaml makes sense: one line per fault, all faults at once."""
    loaded = load(file)
    typer.echo(f"{file}: {len(loaded.flat())} values, no faults")
    for doubt in doubts.of(loaded, yaml_file.read(file)):
        typer.echo(f"warning: {doubt}")
