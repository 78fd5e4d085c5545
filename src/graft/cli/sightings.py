"""Which models have seen an example, as `graft lineage` prints it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.errors import DataError
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.lineage.near import Near

WIDTH = 110
TRAIN = "train"
COMMIT = "mlflow.source.git.commit"


def show(path: Path, params: Params, as_json: bool) -> None:
    """Print which runs have had the example at `path`. Raises DataError where it cannot be read."""
    from graft.lineage import near as copies
    from graft.lineage import seen
    from graft.tracking import examples, origin, server

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: must be a file that can be read. Got: {error.strerror}. Name another one.") from None
    with server.faults():
        runs = origin.complete(origin.connected(params.tracking.experiment))
        tables, without = examples.shared(runs)
    known = {sha256 for one in tables for sha256 in one.table["sha256"]}
    near = copies.copies(content, known, params.data)
    rows = [
        {"run_id": one.id, "run": one.run.info.run_name, "commit": one.run.data.tags.get(COMMIT, "")} | asdict(found)
        for same in tables
        for found in seen.among(same.table, seen.digests(content), near.sha256s)
        for one in same.runs
    ]
    said = _looked(len(runs) - len(without), len(without), near, len(known))
    if as_json:
        typer.echo(json.dumps({"seen": rows, "looked": said}, indent=2, ensure_ascii=False))
        return
    _print_seen(path, rows)
    for line in said:
        say(f"note: {line}")


def _looked(asked: int, without: int, near: Near, known: int) -> list[str]:
    """What the answer does not cover, a sentence each."""
    lines = [] if asked else ["no run in MLflow holds a list of its examples"]
    if without:
        lines.append(
            f"{without} runs hold no list of their examples (logged by an earlier graft), and were not asked. `graft "
            "log` in a checkout with their files adds it."
        )
    if near.unusable:
        lines.append(f"no near copies were looked for, since the file is no usable example: {near.unusable}")
    elif near.compared < known:
        lines.append(
            f"near copies were looked for among {near.compared} of {known} examples: what the others look like is "
            "known neither to graft's cache here nor from data.path"
        )
    return lines


def _print_seen(path: Path, rows: list[dict[str, Any]]) -> None:
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    if not rows:
        console.print(f"{path}: no run in MLflow has seen it, nor a near copy.", markup=False, soft_wrap=True)
        return
    n_trained = len({row["run_id"] for row in rows if row["split"] == TRAIN})
    n_runs = len({row["run_id"] for row in rows})
    console.print(
        f"{path}: in {n_runs} runs, {n_trained} of which trained on it or a copy.", markup=False, soft_wrap=True
    )
    table = Table(box=None, header_style="bold")
    for column in ("part", "copy", "as", "label", "run", "commit"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = (row["split"], row["copy"], row["path"], row["label"])
        table.add_row(*map(escape, cells), escape(f"{row['run']} ({row['run_id'][:7]})"), row["commit"][:7])
    console.print(table)
