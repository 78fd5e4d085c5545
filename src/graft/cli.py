"""The `graft` command: a command per stage, which `dvc.yaml` calls, and one per user action.

Parses, calls, prints. What steers a run stands in params.yaml; the only options are paths, which
`dvc.yaml` gives. Whatever needs TensorFlow is imported where it is used.
"""

from __future__ import annotations

import atexit
import errno
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from graft.errors import GraftError
from graft.start import start_tensorflow

if TYPE_CHECKING:
    from graft.params import Params

PARAMS_FILE = Path("params.yaml")

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""How the system says that nothing more fits on a disk, in a quota, or in a file."""

COLLECT_AT = (100_000, 50, 100)
"""Thresholds of Python's garbage collector, for libraries that make a million objects as they are imported.

With its own it takes a quarter of their start, and half of a process's end unless all that lives is frozen then.
"""

app = typer.Typer(
    help="Give a pretrained network a new head, fit it to your images, and get the same numbers twice.\n\n"
    "`dvc repro` runs the five stages; params.yaml steers them; `mlflow ui` compares the runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
data_app = typer.Typer(help="Look at the images.", no_args_is_help=True)
params_app = typer.Typer(help="Look at params.yaml.", no_args_is_help=True)
backbones_app = typer.Typer(help="List the backbones and what weights are available here.", invoke_without_command=True)
cache_app = typer.Typer(help="Look after graft's own cache, which only saves time.", no_args_is_help=True)
app.add_typer(cache_app, name="cache", rich_help_panel="For you")
app.add_typer(data_app, name="data", rich_help_panel="For you")
app.add_typer(params_app, name="params", rich_help_panel="For you")
app.add_typer(backbones_app, name="backbones", rich_help_panel="For you")

STAGE = "Stages (run by `dvc repro`)"
ACTION = "For you"

In = typer.Option(help="File or directory an earlier stage wrote.", rich_help_panel="Reads")
Out = typer.Option(help="File or directory to write.", rich_help_panel="Writes")

Catalogue = Annotated[Path, In]
Split = Annotated[Path, In]
Features = Annotated[Path, In]
Head = Annotated[Path, In]
Model = Annotated[Path, In]


def load_params() -> Params:
    from graft import params

    return params.load(PARAMS_FILE)


def require_current(features: Path, p: Params) -> None:
    from graft.features import current

    current.require(features, p)


@app.command(rich_help_panel=STAGE)
def prepare(
    catalogue: Annotated[Path, Out],
    split: Annotated[Path, Out],
    quarantine: Annotated[Path, Out],
    duplicates: Annotated[Path, Out],
    metrics: Annotated[Path, Out],
) -> None:
    """Account for every file of the source, and split the images into train, validation and test."""
    p = load_params()
    from graft import session
    from graft.stages import prepare as stage

    session.note_execution("prepare")
    stage.run(p.data, p.seed, catalogue, split, quarantine, duplicates, metrics)


@app.command(rich_help_panel=STAGE)
def extract(catalogue: Catalogue, features: Annotated[Path, Out]) -> None:
    """Compute each image's features with the frozen backbone."""
    p = load_params()
    start_tensorflow()
    from graft import session
    from graft.stages import extract as stage

    session.note_execution("extract")
    stage.run(p.data, p.backbone, p.extract, p.finetune, catalogue, features)


@app.command(rich_help_panel=STAGE)
def train(
    catalogue: Catalogue,
    split: Split,
    features: Features,
    head: Annotated[Path, Out],
    history: Annotated[Path, Out],
) -> None:
    """Train a new head on the cached features."""
    p = load_params()
    require_current(features, p)
    start_tensorflow()
    from graft.stages import train as stage
    from graft.tracking import mirror
    from graft.tracking import run as tracking

    with tracking.live("train", p, mirror.Inputs(catalogue, split, features)) as on_epoch:
        stage.run(p.train, p.seed, catalogue, split, features, head, history, on_epoch)


@app.command(rich_help_panel=STAGE)
def finetune(
    catalogue: Catalogue,
    split: Split,
    features: Features,
    head: Head,
    model: Annotated[Path, Out],
    history: Annotated[Path, Out],
) -> None:
    """Train the backbone's upper layers together with the head; writes the model."""
    p = load_params()
    require_current(features, p)
    start_tensorflow()
    from graft.stages import finetune as stage
    from graft.tracking import mirror
    from graft.tracking import run as tracking

    with tracking.live("finetune", p, mirror.Inputs(catalogue, split, features)) as on_epoch:
        stage.run(
            p.data, p.backbone, p.finetune, p.seed, catalogue, split, features, head, model, history, on_epoch
        )  # fmt: skip


@app.command(rich_help_panel=STAGE)
def evaluate(
    catalogue: Catalogue,
    split: Split,
    features: Features,
    quarantine: Annotated[Path, In],
    duplicates: Annotated[Path, In],
    head: Head,
    model: Model,
    train_history: Annotated[Path, In],
    finetune_history: Annotated[Path, In],
    prepare_metrics: Annotated[Path, In],
    metrics: Annotated[Path, Out],
    confusion: Annotated[Path, Out],
    pictures: Annotated[Path, Out],
    predictions: Annotated[Path, Out],
) -> None:
    """Judge head-only and fine-tuned model on validation and test; completes the MLflow run."""
    p = load_params()
    require_current(features, p)
    start_tensorflow()
    from graft.stages import evaluate as stage
    from graft.tracking import mirror
    from graft.tracking import run as tracking

    histories = {"train": train_history, "finetune": finetune_history}
    outputs = mirror.Outputs(
        inputs=mirror.Inputs(catalogue, split, features),
        model=model,
        histories=histories,
        metrics=metrics,
        prepare_metrics=prepare_metrics,
        quarantine=quarantine,
        duplicates=duplicates,
        pictures=pictures,
        confusion=confusion,
        predictions=predictions,
    )
    tracking.before_judging("evaluate", p)
    stage.run(
        p.evaluate, catalogue, split, features, head, model, histories, metrics, confusion, pictures, predictions
    )  # fmt: skip
    tracking.complete(p, outputs, running="evaluate")


@data_app.command("report")
def data_report(
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("data/report.html"),
) -> None:
    """Write a page about the data: counts, sizes, samples, copies side by side, what was set aside and why."""
    p = load_params()
    from graft.data import report
    from graft.tracking import dvc

    paths = dvc.paths()
    prepared = report.Prepared(
        paths["catalogue"], paths["split"], paths["quarantine"], paths["duplicates"], paths["prepare_metrics"]
    )
    report.write(p.data.source, Path(p.data.path), prepared, output)
    print_result(str(output))


@cache_app.command("info")
def cache_info() -> None:
    """List what the cache holds of which backbones, where it lies, and its limit."""
    from graft.features import show

    show.cache()


@cache_app.command("prune")
def cache_prune(
    max_gb: Annotated[float, typer.Option(help="What features may take together, in gigabytes; 0: nothing.", min=0)],
) -> None:
    """Remove the features that were not used for longest, until the rest fits."""
    from graft.features import cache

    for one in cache.prune(max_gb * 1e9):
        print_result(f"removed {one.n_bytes / 1e6:.0f} MB of {one.what['backbone']} ({one.folder.name})")


@cache_app.command("verify")
def cache_verify() -> None:
    """Read all features in the cache, and drop those that are damaged; they will be computed again."""
    from graft.features import cache

    read, dropped = cache.verify()
    print_result(f"{read} features read, {dropped} damaged and dropped")


@params_app.command("check")
def params_check(
    file: Annotated[Path, typer.Argument(help="The file to check.")] = PARAMS_FILE,
) -> None:
    """Say whether params.yaml makes sense: one line per fault, all faults at once."""
    from graft import params

    loaded = params.load(file)
    print_result(f"{file}: {len(loaded.flat())} values, no faults")


@backbones_app.callback()
def backbones(context: typer.Context) -> None:
    """List the backbones and what weights are available here; `show NAME` lists where one can be cut."""
    from graft.backbones import show

    if context.invoked_subcommand is None:
        show.table()


@backbones_app.command("show")
def backbones_show(
    name: Annotated[str, typer.Argument(help="A name of the table.")],
    alpha: Annotated[float | None, typer.Option(help="Width multiplier; 1 where not given.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Side in pixels; the usual one where not given.")] = None,
) -> None:
    """List the layers that `finetune.cut` may name for a backbone, what is stored there, and the compute below."""
    from graft.backbones import show

    show.cut_points(name, alpha, input_size)


@app.command(rich_help_panel=ACTION)
def log() -> None:
    """Log the pass that the files hold to MLflow; does nothing where it is there already."""
    p = load_params()
    from graft.tracking import run as tracking

    print_result(tracking.complete(p, tracking.from_pipeline(p), running=None))


@app.command(rich_help_panel=ACTION)
def result(metrics: Annotated[Path, typer.Argument(help="What `graft evaluate` wrote.")]) -> None:
    """Print how good the models are, and where to look further."""
    from graft.evaluation import show

    show.result(metrics)


def print_result(text: str) -> None:
    """What a command was asked for goes to standard output; everything else to standard error."""
    typer.echo(text)


def run() -> None:
    """The command in `sys.argv`: every GraftError becomes one message and exit code 1."""
    gc.set_threshold(*COLLECT_AT)
    atexit.register(gc.freeze)
    try:
        app(prog_name="graft")
    except GraftError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in FULL:
            raise
        _fail(
            f"{error.filename or 'a file'}: could not be written: {error.strerror}. Make room, or let GRAFT_CACHE_DIR "
            "and `dvc cache dir` name another disk, and run again: finished stages and computed features are kept."
        )


def _fail(message: str) -> NoReturn:
    typer.secho(f"graft: {message}", err=True, fg="red" if sys.stderr.isatty() else None)
    sys.exit(1)


if __name__ == "__main__":  # how an installation from before `graft.__main__` starts this checkout
    run()
