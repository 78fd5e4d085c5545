"""`graft verify`: whether presets give what is claimed of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from graft.errors import GraftError
from graft.presets import claims, files
from graft.presets import verify as verification
from graft.presets.verify import Result
from graft.runtime.progress import say
from graft.verdicts.words import EXIT_CODE_NOT_COMPARABLE, Reproduced

WIDTH = 100
EXIT_CODE_OUTSIDE = 1


def verify(
    presets: Annotated[
        list[str] | None, typer.Argument(metavar="[PRESET]...", help="Names; without any, those whose data are here.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the images of the one preset named are.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute all anew: no cache is used.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run presets in a clean worktree of the last commit, and say of each claim whether it holds.

    What DVC's cache has of this code and these values is not computed again. Exit code 0: every claim holds, to the
    byte, within its tolerance or within seed noise; 1: one is outside; 2: one could not be compared.
    """
    if data is not None and len(presets or []) != 1:
        raise GraftError("--data: must be given with one preset. Name it: `graft verify PRESET --data PLACE`.")
    project = Path.cwd()
    results: list[Result] = []
    for name in presets or _runnable(project):
        say(f"{name}: `dvc repro` in a clean worktree. {files.get(name).about['Takes']}")
        found, seconds = verification.timed(name, project, data, fresh)
        say(f"{name}: done in {seconds:.0f} s")
        results += found
    if as_json:
        typer.echo(json.dumps([one.to_dict() for one in results], indent=2, ensure_ascii=False))
    else:
        _print(results)
    from graft.tracking import verification as tracking

    tracking.log([one.to_dict() for one in results])
    verdicts = {one.verdict for one in results}
    if Reproduced.OUTSIDE in verdicts:
        raise typer.Exit(EXIT_CODE_OUTSIDE)
    if Reproduced.NOT_COMPARABLE in verdicts:
        raise typer.Exit(EXIT_CODE_NOT_COMPARABLE)


def _runnable(project: Path) -> list[str]:
    """Those with claims whose data and weights are here; of the others a word."""
    expected, runnable = claims.read(), []
    for name in files.names():
        preset = files.get(name)
        if name not in expected or not expected[name].claims:
            reason = "nothing is claimed of it"
        elif missing := verification.lacking(preset, project):
            reason = missing
        elif wanted := verification.download(preset, project):
            reason = f"{wanted} would be downloaded; name it to do so"
        else:
            runnable.append(name)
            continue
        say(f"{name}: not run, since {reason}")
    return runnable


def _print(results: list[Result]) -> None:
    shown = Table(box=None, header_style="bold")
    numbers = ("expected", "got", "difference", "tolerance")
    for column in ("preset", "metric", *numbers, "verdict"):
        shown.add_column(column, justify="right" if column in numbers else "left")
    for one in results:
        got = "-" if one.got is None else f"{one.got:.4f}"
        difference = "-" if one.difference is None else f"{one.difference:+.4f}"
        shown.add_row(
            one.preset, one.metric, f"{one.expected:.4f}", got, difference, f"{one.tolerance:.4f}", one.verdict.value
        )
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    console.print(shown)
    for reason in dict.fromkeys(f"{one.preset}: not comparable, since {one.reason}" for one in results if one.reason):
        console.print(reason, markup=False, soft_wrap=True)
