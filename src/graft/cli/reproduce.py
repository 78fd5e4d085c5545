"""`graft reproduce`: an earlier result computed again, and how the two stand to each other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.errors import GraftError, NotJudgedError
from graft.verdicts.words import EXIT_CODE_NOT_COMPARABLE, Reproduced

if TYPE_CHECKING:
    from graft.reproduction.run import Reproduction

WIDTH = 100
EXIT_CODE_DIFFERENT = 1
NOT_JUDGED = "not judged"
"""What a stage's verdict is called that has none."""


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The id or name of a run in MLflow, a git revision, or the file of a model."
        ),
    ],
    environment: Annotated[
        bool, typer.Option("--environment", help="Rebuild the original's packages from its lock file, and use them.")
    ] = False,
    from_features: Annotated[
        bool, typer.Option("--from-features", help="Start from the recorded features, as where photos are missing.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the worktree to look at.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compute an earlier result again in a worktree of its commit, and say of each stage whether it is the same.

    Exit code 0: to the byte, within tolerance or within seed noise; 1: different; 2: it could not be judged.
    """
    from graft.reproduction import run

    try:
        found = run.run(name, Path.cwd(), run.Asked(environment, from_features, keep))
    except GraftError as error:
        raise NotJudgedError(str(error)) from None
    if as_json:
        typer.echo(json.dumps(_document(found), indent=2, ensure_ascii=False))
    else:
        _print(found)
    if found.verdict == Reproduced.DIFFERENT:
        raise typer.Exit(EXIT_CODE_DIFFERENT)
    if found.verdict == Reproduced.NOT_COMPARABLE:
        raise typer.Exit(EXIT_CODE_NOT_COMPARABLE)


def _document(found: Reproduction) -> dict[str, Any]:
    from graft.reproduction import judging

    first = judging.first_diverging(found.stages)
    return {
        "original": found.original.name,
        "commit": found.original.commit,
        "verdict": found.verdict,
        "first_diverging": first.stage if first else None,
        "environment": None if found.environment is None else [asdict(one) for one in found.environment],
        "stages": [asdict(one) for one in found.stages],
        "worktree": str(found.kept) if found.kept else None,
    }


def _print(found: Reproduction) -> None:
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    table = Table(box=None, header_style="bold")
    for column in ("stage", "verdict", "seconds", "what is not as it was"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for one in found.stages:
        verdict = NOT_JUDGED if one.verdict == Reproduced.NOT_COMPARABLE else one.verdict.value
        seconds = "" if one.seconds is None else f"{one.seconds:.0f}"
        table.add_row(one.stage, verdict, seconds, "; ".join([*one.differs, *([one.reason] if one.reason else [])]))
    console.print(table)
    for line in _sentences(found):
        console.print(line, markup=False, soft_wrap=True)


def _sentences(found: Reproduction) -> list[str]:
    from graft.reproduction import judging

    first = judging.first_diverging(found.stages)
    lines = []
    if first is not None:
        lines.append(f"First diverging stage: {first.stage} ({', '.join(first.outs)}). {_because(found)}")
    told_twice = {"evaluate"} if any(one.figures for one in found.stages if one.stage == "finetune") else set()
    for one in found.stages:
        for figure in () if one.stage in told_twice else one.figures:
            noise = "" if figure.noise is None else f", seed noise {figure.noise:.4f}"
            lines.append(
                f"{one.stage} {figure.name}: {figure.expected:.4f} there, {figure.got:.4f} here; tolerance "
                f"{figure.tolerance:.4f}{noise}: {figure.verdict.value}"
            )
    if found.kept is not None:
        lines.append(f"The worktree is {found.kept}; `git worktree remove --force` of it ends it.")
    told = NOT_JUDGED if found.verdict == Reproduced.NOT_COMPARABLE else found.verdict.value
    return [*lines, f"Verdict on {found.original.name}: {told}."]


def _because(found: Reproduction) -> str:
    """Why the first stage diverges, as far as what was recorded tells."""
    from graft.reproduction import judging

    first = judging.first_diverging(found.stages)
    if first is not None and first.differs:
        return f"Not as it was: {'; '.join(first.differs)}."
    if found.environment:
        return f"Its inputs are the same; not as it was: {'; '.join(map(str, found.environment))}."
    if found.environment is None:
        return "Its inputs are the same; which environment the original had is not known."
    return "Its inputs and all of the environment that was recorded are the same."
