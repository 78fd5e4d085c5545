"""`graft lineage`: from a model to what made it, from an example to every model that saw it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.cli import sightings
from graft.config.load import load
from graft.errors import DataError, StaleError
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.tracking.described import Described
    from graft.tracking.origin import Finished

WIDTH = 110
TRAIN = "train"
JUDGED = ("test_accuracy", "val_accuracy")


def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN|FILE",
            help="A model's file, folder or address in MLflow (models:/NAME@champion), a run's id or name, the "
            "`model` of a served answer; or an image or text.",
        ),
    ],
    images: Annotated[
        bool,
        typer.Option("--images", "--texts", help="List the training examples instead, as CSV: path, sha256, label."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print where a model comes from: run, commit, parameters, data, split. Of an image or text, by its content: which
    models have seen it, as what.
    """
    params = load()
    from graft.tracking import origin, server

    if Path(what).is_file() and not origin.is_model(what):
        if images:
            raise DataError(f"--images: lists what a model was trained on. Got an example, {what}; leave --images out.")
        sightings.show(Path(what), params, as_json)
        return
    with server.faults():
        _of_model(what, params, images, as_json)


def _of_model(what: str, params: Params, images: bool, as_json: bool) -> None:
    from graft.tracking import described, origin

    runs = origin.runs_of(origin.connected(params.tracking.experiment), what)
    if images:
        _list_training(runs[0])
        return
    found = [described.describe(run) for run in runs]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    if len(found) > 1:
        console.print(f"{len(found)} runs have made this model, the newest first:")
    for one in found:
        console.print(_table(one))


def _table(one: Described) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(one):
        table.add_row(name, escape(value))
    return table


def _rows(one: Described) -> list[tuple[str, str]]:
    split = ", ".join(f"{part} {count}" for part, count in one.split.items() if count)
    figures = ", ".join(f"{name} {value:.4f}" for name, value in one.figures.items() if name in JUDGED)
    return [
        ("run", f"{one.name} ({one.run_id}), of {one.started} UTC"),
        ("model", f"weights {one.weights_sha256 or 'not recorded by the graft that made it'}"),
        ("registry", ", ".join(one.versions) or "not registered (`graft promote`)"),
        ("commit", _commit(one)),
        ("params", _params(one)),
        ("data", f"{one.data_path}, md5 {one.data_md5 or 'not recorded'}"),
        ("split", split or "not recorded"),
        ("judged", figures or "on nothing that was held out"),
        ("reproduce", f"graft reproduce {one.run_id}"),
        *([("examples", "graft lineage RUN --images lists those it was trained on")] if one.examples_listed else []),
    ]


def _commit(one: Described) -> str:
    if not one.commit:
        return "none: it was made outside a git repository"
    return f"{one.commit}, with changes that are in the run as code/uncommitted.diff" if one.dirty else one.commit


def _params(one: Described) -> str:
    if one.changed is None:
        return "as code/params.yaml of the run has them; the commit's are not in this repository"
    differing = [f"{key} {now!r} (committed: {before!r})" for key, (before, now) in one.changed.items()]
    return ", ".join(differing) or "as committed"


def _list_training(run: Finished) -> None:
    from graft.tracking import examples

    table = examples.of_run(run)
    if table is None:
        raise StaleError(
            f"MLflow run {run.shown}: must hold {examples.ARTEFACT}, the list of its examples. It has none: it "
            "was logged before runs had one, or its artefacts are gone. data/split.csv of the run has paths without "
            "sha256; `dvc repro` in a checkout of its commit makes a run that has the list."
        )
    trained = table[table["split"] == TRAIN]
    say(f"{len(trained)} training examples of MLflow run {run.shown}")
    trained.to_csv(sys.stdout, index=False, columns=["path", "sha256", "label"])
