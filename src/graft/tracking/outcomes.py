"""What a pass predicted, image by image: of the files here, of a git revision, of a run in MLflow."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.config import yaml_file
from graft.config.load import FILE
from graft.errors import ParamsError, StaleError, TrackingError, listing
from graft.pipeline import layout, lock
from graft.pipeline.layout import WORKSPACE
from graft.runtime.progress import say
from graft.tracking import git, server
from graft.tracking.logged import called

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

ARTIFACT = "predictions"
"""The folder of a run's artefacts that `mirror` logs them to."""


@dataclass(frozen=True)
class Outcome:
    """name: for a reader, with its commit or id. predictions: a table of `graft.evaluation.predictions`."""

    name: str
    predictions: pd.DataFrame


def resolve(name: str, experiment: str) -> Outcome:
    """`workspace`; else a git revision or a DVC experiment; else a run in MLflow, by its id or its name.

    experiment: the one in MLflow whose runs are looked up by name. Raises TrackingError where nothing, or more than
    one run, is called so, and StaleError where the predictions are not there any more.
    """
    if name == WORKSPACE:
        return _here(layout.read().predictions)
    commit = git.revision(Path.cwd(), name)
    if commit is not None:
        return _at(name, commit)
    return _logged(name, experiment)


def _here(path: Path) -> Outcome:
    try:
        found = Outcome(WORKSPACE, _table(path.read_bytes(), str(path)))
    except OSError as error:
        raise StaleError(
            f"{path}: must be written by `graft evaluate`. Got: {error.strerror}. Run `dvc repro` or `dvc checkout`."
        ) from None
    if stale := lock.changed(yaml_file.read(FILE), [path]):
        say(
            f"note: the files here are not those of params.yaml and dvc.lock, which differ in {listing(stale, 5)}. "
            "`dvc repro` or `dvc checkout` mends it."
        )
    return found


def _at(name: str, commit: str) -> Outcome:
    """Of a commit: DVC takes the file from its cache, or from a remote."""
    import dvc.api
    from dvc.exceptions import DvcException

    here, what = Path.cwd(), f"{name} ({commit[:7]})"
    pipeline, locked = (
        (git.committed(here, path, commit) or b"").decode("utf-8", "replace") for path in (layout.FILE, lock.LOCK)
    )
    try:
        path = str(yaml_file.parse(pipeline, name)["vars"][0]["paths"]["predictions"])
    except (ParamsError, KeyError, IndexError, TypeError):
        raise StaleError(
            f"{what}: must have a {layout.FILE} that names `predictions` among its paths. It has none."
        ) from None
    if path not in lock.outputs(locked):
        raise StaleError(
            f"{what}: must hold a result. Its {lock.LOCK} has no {path}. Run `dvc repro` and commit, or compare with "
            "another revision."
        )
    try:
        data = dvc.api.read(f"{git.prefix(here)}{path}", repo=".", rev=commit, mode="rb")
    except (DvcException, OSError) as error:
        raise StaleError(
            f"{what}: {path} must be in DVC's cache or in a remote. Got: {' '.join(str(error).split())} Run `dvc fetch "
            "--all-commits`, or `dvc repro` in a checkout of that commit."
        ) from None
    return Outcome(name if name.startswith(commit[:7]) else what, _table(data, f"{path} of {what}"))


def _logged(name: str, experiment: str) -> Outcome:
    unknown = (
        f"{name!r}: must be `{WORKSPACE}`, a git revision, a DVC experiment (`dvc exp list`), or the name or id of a "
        f"run in MLflow's experiment {experiment!r}. There is none"
    )
    if server.is_unmade():
        raise TrackingError(f"{unknown}; MLflow has no store here.")
    client, experiment_id = server.connect(experiment)
    with server.faults():
        runs = called(client, name, [experiment_id])
        if not runs:
            raise TrackingError(f"{unknown}.")
        if len(runs) > 1:
            ids = listing((run.info.run_id for run in runs), 5)
            raise TrackingError(f"{name!r}: must be one run in MLflow. {len(runs)} are called so; give an id: {ids}.")
        return of_run(client, runs[0])


def of_run(client: MlflowClient, run: Run) -> Outcome:
    """Raises StaleError where the run's predictions are not there any more."""
    return Outcome(f"{run.info.run_name} ({run.info.run_id[:7]})", _artifact(client, run))


def _artifact(client: MlflowClient, run: Run) -> pd.DataFrame:
    run_id = run.info.run_id
    found = [one.path for one in client.list_artifacts(run_id, ARTIFACT) if one.path.endswith(".parquet")]
    if len(found) != 1:
        raise StaleError(
            f"MLflow run {run.info.run_name} ({run_id}): must hold one table in {ARTIFACT}/. Got {len(found)}. Only a "
            "run that was finished holds it, as long as its artefacts are kept; compare with its commit instead."
        )
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        return _table(Path(client.download_artifacts(run_id, found[0], folder)).read_bytes(), f"MLflow run {run_id}")


def _table(data: bytes, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(data))
    except (ValueError, OSError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise StaleError(f"{where}: must be a table in parquet. Got: {error}. Run `dvc repro`.") from None
