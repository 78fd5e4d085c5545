"""`graft doctor`: what stands between a project and the same numbers twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graft.errors import GraftError
from graft.pipeline import layout

if TYPE_CHECKING:
    from graft.doctor.finding import Finding

WIDTH = 100
STYLES = {"ok": "green", "warning": "yellow", "broken": "red"}
EXIT_CODE_BROKEN = 1


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe: nothing that is lost by it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at libraries, processor, disks, data, git, DVC, caches and MLflow; name what is wrong, and its remedy.

    Exit code 1 where something is broken. Nothing is changed without --fix.
    """
    from graft.doctor import run

    if not layout.FILE.exists():
        raise GraftError(
            f"{layout.FILE}: must be here. Got none. Go to the project's folder, or `graft init` makes one."
        )
    found = list(run.examine(run.project(Path.cwd())))
    if as_json:
        told = [{"about": one.about, "state": one.state, "says": one.says, "remedy": one.remedy} for one in found]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(found)
    if fix:
        found = [one for one in found if not _mended(one)]
    if any(one.state == "broken" for one in found):
        raise typer.Exit(EXIT_CODE_BROKEN)


def _mended(finding: Finding) -> bool:
    if finding.fix is None:
        return False
    typer.echo(f"{finding.about}: {finding.fix()}", err=True)
    return True


def _print(found: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in ("state", "about", "says"):
        table.add_column(name, no_wrap=name != "says", overflow="fold")
    for one in found:
        says = Text(one.says)
        if one.remedy:
            says.append(f"\n-> {one.remedy}", style="bold")
        table.add_row(Text(one.state, style=STYLES[one.state]), Text(one.about), says)
    console = Console(width=min(WIDTH, Console().width) if Console().is_terminal else WIDTH, highlight=False)
    console.print(table)
    counts = {state: sum(one.state == state for one in found) for state in STYLES}
    console.print(", ".join(f"{n} {state}" for state, n in counts.items() if n))
