"""All commands of `graft`, each from the module that it stands in.

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
