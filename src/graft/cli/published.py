"""`graft compare --against-published`: what was got here beside what others published for the same data."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.cli import runs
from graft.config import yaml_file
from graft.config.load import FILE
from graft.evaluation import summary
from graft.pipeline import layout
from graft.presets import beside, claims
from graft.verdicts.words import EXIT_CODE_NOT_COMPARABLE

WIDTH = 100


def show(confidence: float) -> None:
    """Print a table. Exit code 2 where nothing was published for these data, as far as graft knows."""
    judged = runs.read(layout.read().metrics)
    ships = summary.shipped(judged)
    rows = beside.found(yaml_file.read(FILE), judged[ships] if ships else {}, confidence)
    if not rows:
        typer.echo(f"not comparable: {claims.FILE} has nothing that was published for the data in {FILE}")
        raise typer.Exit(EXIT_CODE_NOT_COMPARABLE)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("published by", "protocol", "metric", "theirs", "here", "here is"):
        table.add_column(column, justify="right" if column in ("theirs", "here") else "left")
    for row in rows:
        one = row.published
        theirs, here = ("-" if value is None else f"{value:.4f}" for value in (one.value, row.got))
        table.add_row(
            escape(one.source),
            escape(one.protocol),
            one.metric,
            theirs,
            here,
            escape(f"{row.verdict.value}{_why(row)}"),
        )
    Console(width=max(WIDTH, Console().width), highlight=False).print(table)
    typer.echo(
        f"Fisher's exact test at {confidence:.0%}, since theirs is known as a number alone. It is cautious: both were "
        "judged on the same examples."
    )


def _why(row: beside.Beside) -> str:
    return "" if row.published.comparable else f": {row.published.differences}"
