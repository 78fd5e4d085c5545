"""`graft data`: look at the examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graft.config.load import load
from graft.errors import DataError
from graft.pipeline import hashable, layout

app = typer.Typer(help="Look at the examples.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at the examples."""


MOST_SHOWN = 20
"""Faults that are shown one by one."""


@app.command()
def check() -> None:
    """Name what DVC cannot hash in data.path, where it stops or hangs before `prepare` starts: pipes, dead links."""
    data = load().data
    from graft.examples.sources.tree import open_tree

    root = Path(data.path)
    open_tree(root)
    found = hashable.faults(root) if root.is_dir() else []
    if found:
        more = [f"  ... and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
        shown = [f"  {path}: DVC {fault}" for path, fault in found[:MOST_SHOWN]]
        raise DataError(
            "\n".join(
                [
                    f"data.path: DVC must be able to hash all of {str(root)!r} before graft starts. It cannot "
                    f"({len(found)}):",
                    *shown,
                    *more,
                    "  Remove them; or, where data.path lies in the project, name them in .dvcignore; or pack the "
                    "directory as an archive, in which DVC does not look.",
                ]
            )
        )
    typer.echo(f"{root}: nothing that DVC cannot hash")


@app.command()
def report(
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("data/report.html"),
) -> None:
    """Write a page about the data: counts, sizes, samples, copies side by side, what was set aside and why."""
    params = load()
    from graft.examples import report as page

    page.write(params.data.source, Path(params.data.path), layout.read(), output)
    typer.echo(str(output))
