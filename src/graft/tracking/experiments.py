"""Runs that DVC experiments belong to, also where DVC had every stage cached and started nothing.

An experiment's commit has its dvc.lock and params.yaml; the run of the same outputs and parameters is its run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config import yaml_file
from graft.config.load import FILE, of_tree
from graft.errors import ParamsError, TrackingError
from graft.pipeline import lock
from graft.runtime.progress import say
from graft.tracking import git, identity, names, restored, server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TAG = "dvc.exp_name"
"""DVC's own name for it; several experiments of one run stand in it side by side."""


def tag(experiment: str) -> list[str]:
    """Tag the runs in an MLflow experiment with their DVC experiments' names; returns a line for each of these.

    Where there is no run, it is made of what DVC's cache holds.
    """
    client, experiment_id = server.connect(experiment)
    return [f"{one.name}: {_tagged(client, experiment_id, one)}" for one in git.experiments(Path.cwd())]


def _tagged(client: MlflowClient, experiment_id: str, one: git.Experiment) -> str:
    """What became of one experiment, in words."""
    texts = [git.committed(Path.cwd(), path, one.commit) for path in (FILE, lock.LOCK)]
    try:
        tree, locked = (yaml_file.parse((text or b"").decode("utf-8", "replace"), one.name) for text in texts)
        wanted = of_tree(tree, one.name).flat(), lock.md5s(locked)
    except ParamsError:
        return "holds no params.yaml and dvc.lock that this graft reads"
    with server.faults():
        run = _run_of(client, experiment_id, *wanted)
        if run is None:
            say(f"{one.name}: has no run yet, which is made of what DVC's cache holds")
            try:
                run = client.get_run(restored.log(one))
            except TrackingError as error:
                return f"no run. {error}"
        known = [name for name in run.data.tags.get(TAG, "").split(", ") if name]
        if one.name not in known:
            client.set_tag(run.info.run_id, TAG, ", ".join([*known, one.name]))
        return f"{run.info.run_name} ({run.info.run_id})"


def _run_of(client: MlflowClient, experiment_id: str, values: dict[str, Any], stages: dict[str, str]) -> Run | None:
    """The newest run whose stages gave these outputs and whose parameters are these."""
    if not stages:
        return None
    for run in client.search_runs([experiment_id], identity.with_outputs(stages), order_by=["start_time DESC"]):
        logged = {key: value for key, value in run.data.params.items() if not key.startswith(names.UNNAMED)}
        if all(key in values and _same(values[key], text) for key, text in logged.items()):
            return run
    return None


def _same(value: Any, logged: str) -> bool:
    """Whether a value of params.yaml is what a run holds as text; 10 is 10.0."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(logged) == value
        except ValueError:
            return False
    return str(value) == logged
