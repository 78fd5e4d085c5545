"""`graft preset`: recipes that are known to work, as params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from graft.config.load import FILE
from graft.presets import files, verify

WIDTH = 100

app = typer.Typer(help="Recipes that are known to work, as params.yaml.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the presets: what each shows, what it is expected to give, how long it takes, whether its data are here."""
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 1, 0))
    for column in ("preset", "shows", "expects", "takes"):
        shown.add_column(column)
    for name in files.names():
        preset = files.get(name)
        here = "" if verify.lacking(preset, Path()) is None else " (Its data are not here.)"
        shown.add_row(name, preset.about["Shows"] + here, preset.about["Expects"], preset.about["Takes"])
    Console(width=max(WIDTH, Console().width)).print(shown, highlight=False)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A name of the list.")]) -> None:
    """Print a preset: its comments, and every value."""
    typer.echo(files.get(name).text, nl=False)


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="A name of the list.")],
    force: Annotated[bool, typer.Option("--force", help="Write over edits that are not committed.")] = False,
) -> None:
    """Write a preset as params.yaml. Edits of yours that are not committed are not written over."""
    files.use(name, FILE, force)
    typer.echo(f"{FILE}: is now the preset {name}")
    if reason := verify.lacking(files.get(name), Path()):
        typer.echo(f"note: {reason}")
    elif wanted := verify.download(files.get(name), Path()):
        typer.echo(f"note: Keras will download {wanted}")
    typer.echo("next: dvc repro")
