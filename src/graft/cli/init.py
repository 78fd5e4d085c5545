"""`graft init`: a project of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graft.errors import GraftError


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if it is not there.")] = Path(),
    data: Annotated[
        Path | None,
        typer.Option(help="Your images: a directory of classes, an archive of one, or a table of paths and labels."),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="After an upgrade: write graft.lock anew.")] = False,
) -> None:
    """Start a project: dvc.yaml, params.yaml and what belongs to them, and git and DVC where there is none.

    With --data, params.yaml has values that suit those images. What is there is never overwritten.
    """
    from graft.project import start

    if update:
        if data is not None:
            raise GraftError("--data: must not be given with --update, which leaves params.yaml alone. Leave it out.")
        for sentence in start.update(folder):
            typer.echo(sentence)
        return
    for sentence in start.write(folder, data):
        typer.echo(sentence)
    change = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    typer.echo(f"next: {change}dvc repro")
