"""`graft repeat`: how far the results of one recipe lie apart, by seeds or by folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.cli.stages import ready_to_repeat
from graft.config.load import load
from graft.errors import TrainingError
from graft.pipeline import layout
from graft.runtime.computing.tensorflow import start_tensorflow
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths
    from graft.repetition.plans import Plan

WIDTH = 90
SEEDS = 5
COLUMNS = {
    "val_accuracy": "validation accuracy",
    "val_log_loss": "log loss",
    "test_accuracy": "test accuracy",
    "test_log_loss": "log loss",
}
"""Figure -> its column, where there are images to tell it."""


def repeat(
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="How many seeds, from that of params.yaml on; or which: 1,7,42. Without --seeds and --folds, 5.",
        ),
    ] = None,
    folds: Annotated[
        bool, typer.Option("--folds", help="Cross-validation instead: every fold of data.split.fold tests once.")
    ] = False,
    finetune: Annotated[bool, typer.Option("--finetune", help="Fine-tune, too, as params.yaml says.")] = False,
    file: Annotated[Path | None, typer.Option("--json", help="Write all there is to know into this file.")] = None,
) -> None:
    """Train the head again with other seeds, or on other folds, on the features that are there: what is noise?

    No output of the pipeline is written. MLflow gets a run with one inside for each seed or fold.
    """
    params, paths = _current(folds, seeds, finetune)
    from graft.repetition import again, plans, result
    from graft.tracking import repeats

    params = params if finetune else plans.head_only(params)
    chosen = plans.by_fold(params, paths) if folds else plans.by_seed(params, _seeds(seeds, params.seed))
    what = _what(chosen, folds, finetune)
    if folds:
        say(
            f"note: cross-validation sets the split that data.split.method: {params.data.split.method} made aside, an "
            "official one too: every example tests in one fold"
        )
    with repeats.live(params, paths, what) as log:
        start_tensorflow()
        trained = []
        for one in again.each(chosen, paths):
            log.one(one.plan.name, one.plan.params, one.metrics)
            trained.append(one)
        document = result.document(what, trained, params.evaluate.confidence, folds)
        _show(document, params.data.kind)
        if file is not None:
            file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        log.all(document, result.figures(document))


def _current(folds: bool, seeds: str | None, finetune: bool) -> tuple[Params, Paths]:
    """Parameters and paths; raises where the options do not go together, or the files are not those of params.yaml."""
    if folds and seeds is not None:
        raise TrainingError(
            "--seeds and --folds: must be given one at a time: folds are trained with params.yaml's seed."
        )
    params, paths = load(), layout.read()
    if finetune and not params.finetune.enabled:
        raise TrainingError(
            "--finetune: needs finetune.enabled: true in params.yaml. Got false. Set it, and run `dvc repro`."
        )
    return ready_to_repeat(params, paths)


def _seeds(given: str | None, first: int) -> list[int]:
    """`5`: so many from the first one on. `1,7,42`: those."""
    try:
        numbers = [int(part) for part in (given or str(SEEDS)).split(",")]
    except ValueError:
        raise TrainingError(f"--seeds: must be a number of seeds, as 5, or seeds, as 1,7,42. Got {given!r}.") from None
    return numbers if "," in (given or "") else list(range(first, first + numbers[0]))


def _what(plans: Sequence[Plan], folds: bool, finetune: bool) -> str:
    """For a reader: `head, seeds 42, 43, 44`."""
    parts = "head and fine-tuning" if finetune else "head"
    if folds:
        return f"{parts}, {len(plans)} folds"
    return f"{parts}, seeds {', '.join(str(plan.params.seed) for plan in plans)}"


def _show(document: dict[str, Any], kind: str) -> None:
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    for model, spread in document["spread"].items():
        console.print()
        console.print(_table(document, model, spread))
        for line in _sentences(document, model, spread, kind):
            console.print(line, soft_wrap=True, markup=False)


def _table(document: dict[str, Any], model: str, spread: dict[str, Any]) -> Table:
    from graft.evaluation import summary

    names = [name for name in COLUMNS if name in spread]
    table = Table(box=None, header_style="bold")
    table.add_column(model)
    for name in names:
        table.add_column(COLUMNS[name], justify="right")
    for one in document["runs"]:
        figures = summary.figures(one["judged"], model)
        table.add_row(one["name"], *(f"{figures[name]:.4f}" for name in names))
    rows = {"mean": "mean", "deviation": "standard deviation", "lowest": "lowest", "highest": "highest"}
    rows |= {} if "together" in document else {"noise": f"seed noise ({document['confidence']:.0%})"}
    for part, shown in rows.items():
        table.add_row(shown, *(f"{spread[name][part]:.4f}" for name in names), style="bold" if part == "mean" else None)
    return table


def _sentences(document: dict[str, Any], model: str, spread: dict[str, Any], kind: str) -> list[str]:
    if "together" in document:
        return [_of_all(document["together"][model], kind)] if model in document["together"] else []
    name = "test_accuracy" if "test_accuracy" in spread else "val_accuracy"
    images = document["runs"][0]["judged"][model]["test" if name == "test_accuracy" else "validation"]["images"]
    noise = spread[name]["noise"]
    if not noise:
        return [f"All {len(document['runs'])} seeds give the same {COLUMNS[name]}."]
    return [
        f"Two runs of this recipe that differ by less than {noise:.4f} in {COLUMNS[name]} ({noise * images:.1f} of "
        f"{images} {kind}s) are within seed noise ({document['confidence']:.0%}, by {len(document['runs'])} seeds)."
    ]


def _of_all(whole: dict[str, Any], kind: str) -> str:
    """Of all folds together."""
    interval = whole["accuracy_interval"]
    return (
        f"{whole['images']} {kind}s, each tested once, by the model of its fold: accuracy {whole['accuracy']:.4f} "
        f"({interval['low']:.3f} to {interval['high']:.3f}, {interval['confidence']:.0%}), log loss "
        f"{whole['log_loss']:.4f}."
    )
