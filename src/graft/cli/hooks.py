"""`graft hooks`: Git hooks that have MLflow know a pass of which no stage ran."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graft.config import yaml_file
from graft.hooks import install as installing
from graft.pipeline import layout

app = typer.Typer(help="Git hooks that run `graft log` in the background, where a pass has no run yet.")


@app.command()
def install() -> None:
    """Have Git run `graft log` in the background after a checkout, a merge or a commit that brings or keeps a pass.

    What hooks hold already, DVC's own too, stays. GRAFT_HOOKS=0 in the environment switches them off for a command.
    """
    yaml_file.read(layout.FILE)  # a project is here
    for file in installing.install(Path.cwd()):
        typer.echo(f"{file}")
    typer.echo("What they did stands in .graft/hooks.log. `graft hooks remove` takes them away.")


@app.command()
def remove() -> None:
    """Take these lines out of Git's hooks again; what others wrote there stays."""
    found = installing.remove(Path.cwd())
    for file in found:
        typer.echo(f"{file}")
    if not found:
        typer.echo("No hook of Git's here has lines of graft's for this folder.")


@app.command(hidden=True)
def after(git: Annotated[int | None, typer.Argument(help="The process of Git to wait for.")] = None) -> None:
    """What the hooks start: wait until Git is done, then log the pass if it has no run."""
    from graft.hooks import after as work

    work.run(git)
