"""Runs in MLflow by their names, and the model that one has logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graft.errors import TrackingError, listing
from graft.tracking import server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def of_run(name: str) -> str:
    """The address (`models:/...`) of the model of a run, by the run's id or name, in whatever experiment.

    Raises TrackingError where there is no such run, more than one, or one without a model.
    """
    unknown = f"--run: must be the name or id of a run in MLflow ({server.shown()}). Got {name!r}"
    if server.is_unmade():
        raise TrackingError(f"{unknown}, and there is no store yet. Run `dvc repro`, or set MLFLOW_TRACKING_URI.")
    import mlflow

    with server.faults():
        client = mlflow.MlflowClient(server.uri())
        runs = called(client, name, [one.experiment_id for one in client.search_experiments()])
        if not runs:
            raise TrackingError(f"{unknown}, and none is called so. `mlflow ui` shows them.")
        if len(runs) > 1:
            ids = listing((run.info.run_id for run in runs), 5)
            raise TrackingError(f"{unknown}, and {len(runs)} are called so. Give an id: {ids}.")
        model = model_id(client, runs[0].info.run_id)
        if model is None:
            raise TrackingError(f"{unknown}, which holds no model: only a run that was finished has one.")
        return f"models:/{model}"


def model_id(client: MlflowClient, run_id: str) -> str | None:
    """Of the model that a run has logged; None where it has none."""
    outputs = client.get_run(run_id).outputs  # a search leaves them out
    models = outputs.model_outputs if outputs else []
    return str(models[-1].model_id) if models else None


def called(client: MlflowClient, name: str, experiment_ids: Sequence[str]) -> list[Run]:
    """The run with this id, in whatever experiment; else those with this name, the newest first."""
    from mlflow.exceptions import MlflowException

    try:
        return [client.get_run(name)]
    except MlflowException:
        quote = '"' if "'" in name else "'"
        wanted = f"attributes.run_name = {quote}{name}{quote}"
        return list(client.search_runs(list(experiment_ids), wanted, order_by=["start_time DESC"]))
