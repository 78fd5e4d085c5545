"""`graft data`: look at the examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graft.config import yaml_file
from graft.config.load import FILE, load
from graft.errors import DataError, listing
from graft.pipeline import hashable, layout

if TYPE_CHECKING:
    from graft.examples.inventory import Changes
    from graft.examples.sources.listing import Listing

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


@app.command("list")
def list_(
    address: Annotated[
        str | None,
        typer.Argument(help="s3://bucket/photos, or a table or pattern of files on the web; without it, as before."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The listing to write; without it, data.path.")] = None,
) -> None:
    """Write down what lies at an address, so that DVC sees what changes there; data.path then names this listing."""
    from graft.examples import inventory
    from graft.examples.sources import listing as listings

    file = to or Path(str(yaml_file.read(FILE)["data"]["path"]))
    if not listings.is_one(file):
        raise DataError(
            f"--to: must be a file that ends in {listings.SUFFIX}, such as data/photos{listings.SUFFIX}, which "
            f"data.path then names. Got {'' if to else 'none, and data.path is '}{str(file)!r}."
        )
    before = _before(file, needed=address is None)
    if address is None and before is None:
        raise DataError(f"ADDRESS: must be given, since there is no {file} yet that has one.")
    now, missing = inventory.take(address or before.asked if before else str(address), lambda: load().data)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(now.to_bytes())
    part.replace(file)
    _say_listed(file, now, missing)
    if before is not None:
        _say_changes(inventory.changes(before, now))


def _before(file: Path, needed: bool) -> Listing | None:
    """What a listing said until now; None where there is none, or a damaged one that is not needed."""
    from graft.examples.sources import listing as listings

    try:
        return listings.read(file) if file.exists() else None
    except DataError:
        if needed:
            raise
        return None


def _say_listed(file: Path, now: Listing, missing: list[str]) -> None:
    size = sum(one.size or 0 for one in now.files.values())
    typer.echo(f"{file}: {len(now.files):,} files, {size / 1e6:,.1f} MB, at {now.root}")
    if missing:
        typer.echo(f"{len(missing):,} more are named, and are not there: {listing(missing, 5)}")
    unmarked = [path for path, one in now.files.items() if not one.mark]
    if unmarked:
        typer.echo(
            f"note: of {len(unmarked):,} files nothing but the size tells whether they change: {listing(unmarked, 3)}"
        )


def _say_changes(found: Changes) -> None:
    for word, paths in (("added", found.added), ("gone", found.gone), ("changed", found.changed)):
        if paths:
            typer.echo(f"{len(paths):,} {word}: {listing(paths, 5)}")
    if not found:
        typer.echo("nothing has changed")


@app.command("report")
def write_report(
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("data/report.html"),
) -> None:
    """Write a page about the data: counts, sizes, samples, copies side by side, what was set aside and why."""
    params = load()
    from graft.examples import report

    page = report.page(params.data.source, Path(params.data.path), layout.read())
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    typer.echo(str(output))
