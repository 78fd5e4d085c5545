"""`graft plan`: what `dvc repro` would do; after it, what it took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.config.load import load
from graft.errors import StaleError, listing
from graft.pipeline import layout

WIDTH = 90
STANDARD_OUTPUT = "-"
STARTING = ("runs", "may run")
"""Outcomes of stages that take time."""


def plan(
    file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write all of it into this file; - for here.")
    ] = None,
) -> None:
    """Say what `dvc repro` would do, before it does anything: stages, why, forward passes, seconds, MLflow.

    Where nothing is out of date: what the last pass took, and what caches saved. Nothing is run, and no output written.
    """
    params, paths = load(), layout.read()
    from graft.planning import document

    planned = document.of(params, paths)
    if file is not None:
        _write(json.dumps(planned, indent=2, ensure_ascii=False) + "\n", file)
    if file != STANDARD_OUTPUT:
        show(planned, params.data.kind)


def _write(text: str, file: str) -> None:
    if file == STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text)
    except OSError as error:
        raise StaleError(f"--json: must name a file that can be written. Got {file!r}: {error.strerror}.") from None


def show(planned: dict[str, Any], kind: str) -> None:
    """planned: what `planning.document.of` gives. kind: of the examples."""
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    console.print(_past(planned) if planned["current"] else _future(planned))
    sentences = _after(planned, kind) if planned["current"] else _before(planned, kind)
    for sentence in [*sentences, f"MLflow: {planned['mlflow']['sentence']}."]:
        console.print(sentence, markup=False, soft_wrap=True)


def _future(planned: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("dvc repro", no_wrap=True)
    table.add_column("why")
    table.add_column("seconds", no_wrap=True, justify="right")
    said: list[str] = []
    for one in planned["stages"]:
        seconds = _seconds(one["seconds"]) if one["outcome"] in STARTING else ""
        seconds = seconds if one["stage"] in layout.STAGES else ""  # of exports nothing is recorded
        new = [cause for cause in one["why"] if cause not in said]
        said += new
        table.add_row(one["stage"], one["outcome"], "; ".join(new or (one["why"] and ["as above"])), seconds)
    return table


def _seconds(given: dict[str, float] | None) -> str:
    """As recorded; a range where training may stop early."""
    if given is None:
        return "no record yet"
    low, high = _rounded(given["low"]), _rounded(given["high"])
    return f"about {high}" if low == high else f"{low} to {high}"


def _rounded(seconds: float) -> str:
    """No more digits than such a figure is worth."""
    return f"{seconds:,.0f}" if seconds >= 2 else f"{seconds:.1f}"


def _before(planned: dict[str, Any], kind: str) -> list[str]:
    sentences = _absent(planned)
    if planned["refused"]:
        sentences.append(
            f"graft.lock: names other code than that of the graft which runs, for {listing(planned['refused'])}: `dvc "
            "repro` will stop there. Run `graft init --update`."
        )
    if planned["extract"] is not None:
        sentences += _extract(planned["extract"], kind)
    return sentences + _total(planned["stages"])


def _absent(planned: dict[str, Any]) -> list[str]:
    if not planned["absent"]:
        return []
    return [
        f"{listing(planned['absent'], 3)}: not here. This goes by dvc.lock, as `dvc repro --allow-missing` does; `dvc "
        "pull` brings what it names."
    ]


def _total(stages: list[dict[str, Any]]) -> list[str]:
    """Of the stages with a record; a sentence names those without."""
    starting = [one for one in stages if one["outcome"] in STARTING]
    counted = [one for one in starting if one["seconds"] is not None]
    if not counted:
        return []
    low = sum(one["seconds"]["low"] for one in counted if one["outcome"] == STARTING[0])
    total = {"low": low, "high": sum(one["seconds"]["high"] for one in counted)}
    without = [one["stage"] for one in starting if one["seconds"] is None]
    beside = f"; {listing(without)} not among them" if without else ""
    shown = _seconds(total) if low else f"up to {_rounded(total['high'])}"
    return [f"In all {shown} seconds here, by what stages took before{beside}."]


def _extract(extract: dict[str, Any], kind: str) -> list[str]:
    if extract["examples"] is None:
        return [f"extract: how many {kind}s it would read is not known: {extract['note']}."]
    views = f" x {extract['views']} views" if extract["views"] > 1 else ""
    held = (
        ""
        if extract["held"] is None
        else f", of them {extract['held']:,} in graft's cache and {extract['computed']:,} to compute"
    )
    most = "at most " if extract["held"] is None else ""
    sentences = [f"extract: {extract['examples']:,} {kind}s{views}: {most}{extract['passes']:,} forward passes{held}."]
    if extract["array_bytes"]:
        arrays = ", ".join(f"{name} {_megabytes(n)}" for name, n in extract["array_bytes"].items())
        sentences.append(
            f"  It writes {arrays}, which DVC's cache keeps too, and {_megabytes(extract['cache_bytes'])} into graft's."
        )
    return sentences + ([f"  ({extract['note']})"] if extract["note"] else [])


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


def _past(planned: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("last pass", no_wrap=True)
    table.add_column("seconds", no_wrap=True, justify="right")
    table.add_column("forward passes")
    for one in planned["stages"]:
        took = one["took"]
        if took is None:
            table.add_row(one["stage"], "DVC had it", "no record", "")
            continue
        passes = f"{took['passes']:,} of {took['wanted']:,}" if "passes" in took and took["in_last"] else ""
        shown = _rounded(took["seconds"])
        ran = "ran" if took["in_last"] else "DVC had it"
        table.add_row(one["stage"], ran, shown if took["in_last"] else f"0 (took {shown} before)", passes)
    return table


def _after(planned: dict[str, Any], kind: str) -> list[str]:
    saved = planned["saved"]
    ran = sum(one["took"]["seconds"] for one in planned["stages"] if one["took"] and one["took"]["in_last"])
    sentences = [*_absent(planned), "Nothing is out of date: `dvc repro` would run no stage."]
    if planned["absent"]:
        sentences[-1] = "Nothing is out of date by dvc.lock."
    if ran:
        sentences.append(f"The last pass took {_rounded(ran)} seconds in its stages.")
    parts = []
    if saved["stages"]:
        parts.append(f"{_rounded(saved['stages'])} seconds by stages that did not run")
    if saved["passes"]:
        worth = saved["passes_seconds"]
        seconds = ", whose seconds are not recorded yet" if worth is None else f", about {_rounded(worth)} seconds"
        parts.append(f"{saved['passes']:,} forward passes of {kind}s{seconds}")
    return sentences + ([f"Caches saved {' and '.join(parts)}."] if parts else [])
