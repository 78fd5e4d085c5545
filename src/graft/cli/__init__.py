"""The `graft` command: a command per stage, which `dvc.yaml` calls, and one per user action.

Parses, calls, prints. What steers a run stands in params.yaml, where it reads and writes in dvc.yaml. Whatever needs
TensorFlow is imported where it is used.

stages      the five stages
init        a project of one's own
probe       which network, which layer: `graft probe`
audit       labels that look wrong: `graft audit`
plan        what the next pass would do, and what the last one took: `graft plan`
runs        what a pass has given: `graft result`, `graft log`
predict     what a model says of files
serve       the same over HTTP
lr_find     a learning-rate range test
report      a page about the model that ships: `graft report`
compare     whether a model is better than another one
repeat      how far the results of one recipe lie apart
doctor      what stands between a project and the same numbers twice
lineage     from a model to what made it, from an example (sightings) to the models that saw it
card        what there is to know of a model, as Markdown
promote     a model in the registry, as champion if it is better
verify      whether presets give what is claimed of them
reproduce   an earlier result computed again, stage by stage
export      the model for other runtimes, behind a parity gate: `graft export`
study       the claims of transfer learning on one's own examples: `graft study few-shot`
data params preset backbones cache hooks  groups of commands, each with the tables that it prints
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import NoReturn

import typer

from graft.cli import (
    audit,
    backbones,
    cache,
    card,
    compare,
    data,
    doctor,
    export,
    hooks,
    init,
    lineage,
    lr_find,
    params,
    plan,
    predict,
    preset,
    probe,
    promote,
    repeat,
    report,
    reproduce,
    runs,
    serve,
    stages,
    study,
    verify,
)
from graft.errors import FULL, GraftError

COLLECT_AT = (100_000, 50, 100)
"""Thresholds of Python's garbage collector, for libraries that make a million objects as they are imported.

With its own it takes a quarter of their start, and half of a process's end unless all that lives is frozen then.
"""

app = typer.Typer(
    help="Give a pretrained network a new head, fit it to your own images or texts, and get the same numbers twice.\n\n"
    "`dvc repro` runs the five stages; params.yaml steers them; `mlflow ui` compares the runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
STAGE = "Stages (run by `dvc repro`)"
ACTION = "For you"
for stage in stages.COMMANDS:
    app.command(rich_help_panel=STAGE)(stage)
for group, name in (
    (cache.app, "cache"),
    (data.app, "data"),
    (params.app, "params"),
    (preset.app, "preset"),
    (backbones.app, "backbones"),
    (study.app, "study"),
    (hooks.app, "hooks"),
):
    app.add_typer(group, name=name, rich_help_panel=ACTION)
for action in (
    init.init,
    probe.probe,
    audit.audit,
    lr_find.lr_find,
    plan.plan,
    runs.log,
    runs.result,
    predict.predict,
    serve.serve,
    report.report,
    compare.compare,
    lineage.lineage,
    card.card,
    promote.promote,
    repeat.repeat,
    export.export,
    verify.verify,
    doctor.doctor,
    reproduce.reproduce,
):
    app.command(rich_help_panel=ACTION)(action)


def run() -> None:
    """The command in `sys.argv`: every GraftError becomes one message and its exit code."""
    gc.set_threshold(*COLLECT_AT)
    atexit.register(gc.freeze)
    try:
        app(prog_name="graft")
    except GraftError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _fail(
            f"{error.filename or 'a file'}: could not be written: {error.strerror}. Make room, or let GRAFT_CACHE_DIR "
            "and `dvc cache dir` name another disk, and run again: finished stages and computed features are kept."
        )


def _fail(message: str, exit_code: int = 1) -> NoReturn:
    typer.secho(f"graft: {message}", err=True, fg="red" if sys.stderr.isatty() else None)
    sys.exit(exit_code)
