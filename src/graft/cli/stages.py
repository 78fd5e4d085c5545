"""The five stages, as `dvc.yaml` calls them: without options, since params.yaml and dvc.yaml say everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.cli import runs
from graft.config import yaml_file
from graft.config.load import FILE, load
from graft.errors import StaleError, listing
from graft.pipeline import layout, session
from graft.pipeline import lock as pipeline_lock
from graft.planning import records
from graft.project import lock
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths


def _ready(stage: str, tensorflow: bool = True) -> tuple[Params, Paths]:
    """Parameters and paths, checked, and libraries started as the parameters say."""
    params, paths = load(), layout.read()
    lock.require_current(stage)
    numerics.apply(params.numerics)
    if tensorflow:
        start_tensorflow()
    return params, paths


def ready_for_features(stage: str) -> tuple[Params, Paths]:
    """The same, where the features must belong to the parameters: said before TensorFlow takes its time."""
    from graft.features import staleness

    params, paths = load(), layout.read()
    staleness.require_current(params, paths)
    return _ready(stage)


def ready_to_repeat(params: Params, paths: Paths) -> tuple[Params, Paths]:
    """The same, where trainings are repeated outside the pipeline on what `prepare` and `extract` wrote.

    Raises StaleError where that is missing, or not what params.yaml asks for.
    """
    ready_to_look(params, paths)
    for stage in ("train", "finetune", "evaluate"):
        lock.require_current(stage)
    return params, paths


def ready_to_look(params: Params, paths: Paths) -> tuple[Params, Paths]:
    """The same, where nothing is trained: without the code of the later stages."""
    from graft.features import staleness

    read = [paths.catalogue, paths.split, paths.duplicates]
    missing = [str(path) for path in read if not path.exists()]
    if missing:
        raise StaleError(f"{listing(missing)}: must be there to be read. Run `dvc repro` or `dvc pull`.")
    if changed := pipeline_lock.changed(yaml_file.read(FILE), read, ("prepare",)):
        raise StaleError(
            f"{FILE}: must be what the catalogue and the split were made with. Different: {listing(changed, 5)}. Run "
            "`dvc repro`."
        )
    staleness.require_current(params, paths)
    numerics.apply(params.numerics)
    return params, paths


def prepare() -> None:
    """Account for every file of the source, and split the examples into train, validation and test."""
    with records.watched("prepare") as watch:
        params, paths = watch.of(*_ready("prepare", tensorflow=False))
        from graft.stages import prepare as stage

        session.note_execution("prepare")
        stage.run(params, paths)


def extract() -> None:
    """Compute each example's features with the frozen backbone."""
    with records.watched("extract") as watch:
        params, paths = watch.of(*_ready("extract"))
        from graft.features import team
        from graft.stages import extract as stage
        from graft.tracking import remote

        session.note_execution("extract")
        stage.run(params, paths, team.around(remote.opened, lambda: records.rate("extract", params)))


def train() -> None:
    """Train a new head on the cached features."""
    with records.watched("train") as watch:
        params, paths = watch.of(*ready_for_features("train"))
        from graft.stages import train as stage
        from graft.tracking.live import live

        with live("train", params, paths) as on_epoch:
            stage.run(params, paths, watch.following(on_epoch))


def finetune() -> None:
    """Train the backbone's upper layers together with the head; writes the model."""
    with records.watched("finetune") as watch:
        params, paths = watch.of(*ready_for_features("finetune"))
        from graft.stages import finetune as stage
        from graft.tracking.live import live

        with live("finetune", params, paths) as on_epoch:
            stage.run(params, paths, watch.following(on_epoch))


def evaluate() -> None:
    """Judge head-only and fine-tuned model on validation and test; completes the MLflow run."""
    with records.watched("evaluate") as watch:
        params, paths = watch.of(*ready_for_features("evaluate"))
        from graft.stages import evaluate as stage
        from graft.tracking import run as tracking

        tracking.before_judging("evaluate", params)
        stage.run(params, paths)
        logged = tracking.complete(params, paths, running="evaluate")
        runs.show(params, paths, logged.name)


COMMANDS = (prepare, extract, train, finetune, evaluate)
