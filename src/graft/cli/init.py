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
        typer.Option(help="Your images or texts: a directory of classes, an archive, or a table with labels."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A recipe of `graft preset list`, instead of --data.")] = None,
    update: Annotated[bool, typer.Option("--update", help="After an upgrade: write graft.lock anew.")] = False,
) -> None:
    """Start a project: dvc.yaml, params.yaml and what belongs to them, and git and DVC where there is none.

    With --data, params.yaml has values that suit those examples; with --preset, those of a recipe. What is there is
    never overwritten.
    """
    from graft.presets import files as presets
    from graft.project import start

    if update:
        if data is not None or preset is not None:
            raise GraftError(
                "--update: must be given alone, since it leaves params.yaml as it is. Leave the others out."
            )
        for sentence in start.update(folder):
            typer.echo(sentence)
        return
    if data is not None and preset is not None:
        raise GraftError("--data and --preset: must not be given together: each says what params.yaml holds. Keep one.")
    recipe = None if preset is None else presets.get(preset).text
    for sentence in start.write(folder, data, recipe):
        typer.echo(sentence)
    change = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    typer.echo(f"next: {change}dvc repro")
