"""What a pass of the pipeline has given: `graft result` and `graft log`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.config import doubts, yaml_file
from graft.config.load import FILE, load
from graft.errors import StaleError
from graft.evaluation import summary
from graft.pipeline import layout, lock

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

COLUMNS = ("model", "split", "{}s", "accuracy", "interval", "macro F1", "log loss", "ECE")
WIDTH = 90
LOOK = """
Where to look
  mlflow ui           every run: params, curves, metrics, plots, model
  graft report        what the model got wrong, {seen}, as a page
  dvc plots show      training curves and confusion matrix as a page
  dvc metrics diff    what changed since the last commit
  models/model.keras  the model, on {read}
To go on: change params.yaml, run `dvc repro`, compare."""
OF_KIND = {
    "image": {"seen": "with pictures", "read": "pixels in [0, 255]"},
    "text": {"seen": "with the texts", "read": "a text's tokens"},
}
"""What LOOK says of models on examples of a kind."""


def log(
    experiments: Annotated[
        bool, typer.Option(help="Tag the runs of all DVC experiments with their names, also of those from the cache.")
    ] = False,
) -> None:
    """Log the pass that the files hold to MLflow; does nothing where it is there already."""
    params, paths = load(), layout.read()
    if experiments:
        from graft.tracking import experiments as tagging

        for line in tagging.tag(params.tracking.experiment):
            typer.echo(line)
        return
    from graft.tracking import run as tracking

    tracking.require_whole(paths)
    typer.echo(tracking.complete(params, paths, running=None).run_id)


def result() -> None:
    """Print how good the last pass's models are, what changed since the last commit, and where to look further."""
    params = load()
    show(params, layout.read())
    Console(highlight=False).print(LOOK.format(**OF_KIND[params.data.kind]))


def show(params: Params, paths: Paths, run_name: str | None = None) -> None:
    """The table, what changed since the last commit, the run's name, and what to know before using the model."""
    from graft.training import history

    judged = read(paths.metrics)
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    console.print()
    if any(judged.values()):
        console.print(_table(judged, params.data.kind))
        for sentence in _temperatures(judged):
            console.print(sentence, markup=False, soft_wrap=True)
        console.print(_changes(paths), soft_wrap=True)
        for line in _looks(params, paths, judged):
            console.print(line, soft_wrap=True)
    else:
        console.print(
            f"No {params.data.kind} was held out for validation or test (data.split): nothing to judge the models by."
        )
    if run_name is not None:
        console.print(f"MLflow run: {run_name}", markup=False, soft_wrap=True)
    warnings = summary.warnings(judged, history.read(paths.finetune_history))
    for warning in [*doubts.of(params, yaml_file.read(FILE)), *warnings]:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True, style="yellow")


def read(path: Path) -> dict[str, Any]:
    """A JSON file that `evaluate` writes. Raises StaleError where it is missing or not readable."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StaleError(f"{path}: must be written by `graft evaluate`. Run `dvc repro`. Got: {error}") from None
    return values


def _table(judged: summary.Judged, kind: str) -> Table:
    table = Table(box=None, header_style="bold")
    for column in COLUMNS:
        table.add_column(column.format(kind), no_wrap=True, justify="left" if column in ("model", "split") else "right")
    for model, splits in judged.items():
        for split, m in splits.items():
            interval = m["accuracy_interval"]
            table.add_row(
                model,
                split,
                f"{m['images']}",
                f"{m['accuracy']:.4f}",
                f"{interval['low']:.3f}-{interval['high']:.3f} ({interval['confidence']:.0%})",
                f"{m['macro_f1']:.4f}",
                f"{m['log_loss']:.4f}",
                f"{m['expected_calibration_error']:.4f}",
            )
    return table


def _looks(params: Params, paths: Paths, judged: summary.Judged) -> list[str]:
    """What the accuracy on test is worth after all models that were judged there; nothing where this is the first."""
    from graft.tracking import ledger
    from graft.verdicts import looks

    shipped = summary.shipped(judged)
    test = judged[shipped].get("test") if shipped else None
    known = len(ledger.models(paths, params.tracking.experiment)) if test else 0
    if test is None or known < 2:
        return []
    right, confidence = round(test["accuracy"] * test["images"]), test["accuracy_interval"]["confidence"]
    low, high, each = looks.corrected_interval(right, test["images"], confidence, known)
    return [
        f"Judged on these test {params.data.kind}s so far: {known} models (git, MLflow). Corrected for as many looks: "
        f"{low:.3f}-{high:.3f} ({shipped}, test; {each:.2%} for each, {confidence:.0%} for all)."
    ]


def _temperatures(judged: summary.Judged) -> list[str]:
    """What the temperature of the model that ships has changed, a sentence for each split; nothing without one."""
    return [
        f"{model}, {split}: temperature {t['value']:g} took ECE from {t['expected_calibration_error_before']:.4f} to "
        f"{m['expected_calibration_error']:.4f}, log loss from {t['log_loss_before']:.4f} to {m['log_loss']:.4f}"
        for model, splits in judged.items()
        for split, m in splits.items()
        if (t := m.get("temperature"))
    ]


def _changes(paths: Paths) -> str:
    """The figures that DVC compares, each with its difference from the last commit's."""
    from graft.tracking import git

    now = read(paths.summary)
    committed = git.committed(Path.cwd(), paths.summary)
    try:
        before: dict[str, float] = json.loads(committed or b"{}")
    except ValueError:  # in the middle of a merge
        before = {}
    text = git.committed(Path.cwd(), lock.LOCK)
    split = lock.outputs(text.decode("utf-8", "replace")).get(str(paths.split)) if text else None
    where = "" if split in (None, lock.md5_of(paths.split)) else ", on other data or another split"
    shared = [name for name in now if name in before]
    if not shared:
        return "The last commit has no result to compare with: commit this one (`git add . && git commit`)."
    differences = [f"{name} {now[name] - before[name]:+.4f}" for name in shared if now[name] != before[name]]
    return f"Against the last commit{where}: {', '.join(differences) or 'the same'}."
