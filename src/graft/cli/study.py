"""`graft study`: the claims of transfer learning, measured on the examples at hand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    import pandas as pd

    from graft.config.schema import Params

FOLDER = Path("data/study")
WIDTH = 100
SHOTS = "1,2,5,10,25,50,all"

app = typer.Typer(help="The claims of transfer learning, measured on your images or texts.", no_args_is_help=True)


@app.callback()
def study() -> None:
    """The claims of transfer learning, measured on your images or texts."""


@app.command("few-shot")
def few_shot(
    shots: Annotated[str, typer.Option(metavar="N,N,...", help="Labels of each class to train on.")] = SHOTS,
    seeds: Annotated[int, typer.Option(metavar="N", help="How many seeds, from that of params.yaml on.", min=1)] = 3,
    scratch_seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Fewer for the network from scratch, which takes longest; 0: none.", min=0),
    ] = None,
    scratch_rate: Annotated[float, typer.Option(help="Learning rate of the network from scratch.", min=1e-9)] = 0.001,
    scratch_epochs: Annotated[int, typer.Option(metavar="N", help="Its epochs.", min=1)] = 30,
    min_steps: Annotated[
        int, typer.Option(metavar="N", help="Steps of every training at least, however few the labels.", min=1)
    ] = 200,
) -> None:
    """Accuracy on validation examples by labels of each class: from scratch, frozen with a new head, and fine-tuned.

    Run `dvc repro` first. Nothing of the pipeline is changed, and test examples are not read.
    """
    numbers = _numbers(shots)
    params, paths = ready_to_repeat(load(), layout.read())
    start_tensorflow()
    from graft.evaluation import plots
    from graft.study import few_shot as study
    from graft.study import picture
    from graft.tracking import findings

    began, cpu = time.monotonic(), time.process_time()
    recipe = study.Recipe(min_steps, seeds if scratch_seeds is None else scratch_seeds, scratch_rate, scratch_epochs)
    trials = study.trials(params, paths, numbers, range(params.seed, params.seed + seeds), recipe)
    if not trials:
        raise TrainingError(
            f"--shots: must hold `all`, or a number below that of the largest class's training examples. Got {shots!r}."
        )
    for line in _left_out(params, numbers, {one.shots for one in trials}):
        say(f"note: {line}")
    points = study.table(list(study.run(params, paths, trials)))
    files = [FOLDER / "few-shot.csv", FOLDER / "few-shot.png"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    points.to_csv(files[0], index=False, lineterminator="\n")
    plots.save(picture.draw(points), files[1])
    means = study.means(points)
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    console.print(_table(means, params.data.kind))
    run_id = findings.log(
        "study",
        params.tracking.experiment,
        f"few-shot study: {params.backbone.name}, {params.train.head}, {seeds} seed{'s' if seeds > 1 else ''}",
        {"graft.study": "few-shot"},
        _metrics(means),
        files,
    )
    seconds = f"{time.monotonic() - began:.0f} s, {time.process_time() - cpu:.0f} s of processor time"
    console.print(f"{', '.join(map(str, files))}; MLflow run {run_id}; {seconds}", markup=False, soft_wrap=True)


def _numbers(text: str) -> list[int | None]:
    """`1,5,all` -> 1, 5, None: ascending, each once."""
    parts = {part.strip() for part in text.split(",")}
    wrong = sorted(part for part in parts - {"all"} if not part.isdecimal() or int(part) < 1)
    if wrong:
        raise TrainingError(
            f"--shots: must be numbers from 1 on, and `all` for all labels, as {SHOTS}. Got {', '.join(wrong)!r}."
        )
    return [*sorted(int(part) for part in parts - {"all"}), *([None] if "all" in parts else [])]


def _left_out(params: Params, numbers: list[int | None], kept: set[str]) -> list[str]:
    """What the study does not have, and why, a sentence each."""
    from graft.study.few_shot import has_layers, has_scratch

    beyond = [str(number) for number in numbers if number is not None and str(number) not in kept]
    reasons = {
        f"no class has more training examples than that, so that {', '.join(beyond)} would be all of them": bool(
            beyond
        ),
        "a network for texts is what its files are: none is trained from scratch": (
            has_layers(params) and not has_scratch(params)
        ),
        "train.enabled is false: there is no frozen network with a head": not params.train.enabled,
        "finetune.enabled is false: nothing is fine-tuned": not params.finetune.enabled and has_layers(params),
        f"{params.backbone.name} has no layers: its head on pixels is the network from scratch": not has_layers(params),
    }
    return [reason for reason, holds in reasons.items() if holds]


def _table(means: pd.DataFrame, kind: str) -> Table:
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column, justify in (("labels", "right"), (f"{kind}s", "right"), ("way", "left")):
        shown.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for column in ("accuracy", "lowest", "highest", "log loss", "steps", "an epoch", "1e12 madd", "cpu s"):
        shown.add_column(column, justify="right", no_wrap=True)
    before = ""
    for one in means.to_dict("records"):
        named = (one["shots"], f"{one['images']:.0f}") if one["shots"] != before else ("", "")
        before = one["shots"]
        shown.add_row(
            *named,
            one["way"],
            *(f"{value:.4f}" for value in (one["accuracy"], one["lowest"], one["highest"])),
            f"{one['log_loss']:.3f}",
            f"{one['steps']:.0f}",
            f"{one['steps_per_epoch']:.0f}",
            f"{one['multiply_adds']:.3g}",
            f"{one['cpu_seconds']:.1f}",
        )
    shown.caption = (
        "Means over the seeds, on validation examples. labels: of each class. madd: multiply-adds of extraction and "
        "training. cpu s: of the training stages, with all they load and write."
    )
    return shown


def _metrics(means: pd.DataFrame) -> list[tuple[str, float, int]]:
    """name, value, step: the labels of each class."""
    return [
        (
            f"{one['way'].replace(' ', '_').replace('-', '_')}_{name}",
            float(one[name]),
            round(one["images_per_class"]),
        )
        for one in means.to_dict("records")
        for name in ("accuracy", "log_loss", "multiply_adds", "cpu_seconds")
    ]
