"""`graft audit`: labels that look wrong, outliers, near-duplicates, classes that overlap."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from graft.cli.stages import ready_to_look
from graft.config.load import load
from graft.pipeline import layout
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.audit.run import Audit

WIDTH = 100
LONGEST = 100
"""Characters of a text or path that are printed."""

SHOWN = 10
"""Suspects, and pairs of classes, that are printed."""


def audit(
    most: Annotated[int, typer.Option(metavar="N", help="Suspects, outliers and pairs listed, of each.", min=1)] = 100,
    out: Annotated[Path, typer.Option(help="The folder of audit.html and audit.csv.")] = Path("data/audit"),
) -> None:
    """List labels that look wrong beside their nearest examples, outliers, near-duplicates and classes that overlap.

    Reads the features that `dvc repro extract` has cached. Decide in audit.csv; data.relabel in params.yaml applies it.
    """
    params, paths = ready_to_look(load(), layout.read())
    from graft.audit import run, subject
    from graft.tracking import findings

    began = time.monotonic()
    read = subject.read(paths, params.data.relabel)
    found = run.run(read, params.data.source, Path(params.data.path), most, out)
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    _print(console, found, read.kind)
    run_id = findings.log(
        "audit",
        params.tracking.experiment,
        f"audit: {params.backbone.name}, {len(read.images)} {read.kind}s",
        {"graft.audit": params.data.relabel or "undecided"},
        [(name, value, 0) for name, value in found.metrics.items()],
        found.files,
    )
    written = ", ".join(map(str, found.files))
    console.print(f"{written}; MLflow run {run_id}; {time.monotonic() - began:.0f} s", markup=False, soft_wrap=True)


def _print(console: Console, found: Audit, kind: str) -> None:
    figures = found.metrics
    if found.listed:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in (kind, "label", "looks like"):
            table.add_column(column, overflow="fold")
        for column in ("how sure", "label"):
            table.add_column(column, justify="right", no_wrap=True)
        for one in found.listed[:SHOWN]:
            shares = (f"{one[name]:.2f}" for name in ("probability", "label_probability"))
            shown = " / ".join(found.texts.get(one["path"], [one["path"]]))
            shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST].rstrip()} …"
            table.add_row(*map(_plain, (shown, one["label"], one["suggested"])), *shares)
        console.print(table)
    if found.overlaps:
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("classes that overlap", overflow="fold")
        for column in ("taken for", "and back", "of both"):
            table.add_column(column, justify="right", no_wrap=True)
        for one in found.overlaps[:SHOWN]:
            names = _plain(f"{one['a']}, {one['b']}")
            table.add_row(names, str(one["a_as_b"]), str(one["b_as_a"]), f"{100 * one['share']:.1f} %")
        console.print(table)
    if figures["unjudged"]:
        say(f"note: {figures['unjudged']:.0f} {kind}s are alone of their class, and not judged")
    console.print(
        f"{figures['suspects']:.0f} of {figures[f'{kind}s']:.0f} {kind}s look more like another class, "
        f"{figures['confident_suspects']:.0f} of them surely; {figures['near_pairs']:.0f} pairs are nearly the same; "
        f"{figures['decided']:.0f} were decided before.",
        markup=False,
        soft_wrap=True,
    )


def _plain(text: str) -> str:
    """Square brackets in a name are no markup."""
    from rich.markup import escape

    return escape(text)
