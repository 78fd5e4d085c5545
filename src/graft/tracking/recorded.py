"""What a run in MLflow recorded of how it came about, for `graft reproduce`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.errors import StaleError, TrackingError, listing
from graft.runtime import environment
from graft.runtime.environment import Environment
from graft.tracking import artefacts, identity, ledger, mirror, server
from graft.tracking.logged import called

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

UNCOMMITTED, EVALUATION = "code/uncommitted.diff", "metrics/evaluation.json"


@dataclass(frozen=True)
class Record:
    """name: for a reader. commit: 40 hex digits. uncommitted: as `git.CodeState` has it, "" where all was committed.

    outs: stage -> path -> md5. lock: the text of dvc.lock as `evaluate` found it, in which its own entry may be of an
    earlier pass; "" where it was not recorded, as environment and evaluation are None.
    """

    name: str
    commit: str
    uncommitted: str
    outs: Mapping[str, dict[str, str]]
    lock: str
    environment: Environment | None
    evaluation: Mapping[str, Any] | None


def of_run(name: str) -> Record | None:
    """The run with this id or name, in whatever experiment; None where there is none.

    Raises TrackingError where several are called so, StaleError where the run does not say what it takes.
    """
    if server.is_unmade():
        return None
    client = _client()
    with server.faults():
        runs = called(client, name, [one.experiment_id for one in client.search_experiments()])
        if len(runs) > 1:
            ids = listing((run.info.run_id for run in runs), 5)
            raise TrackingError(f"{name!r}: must be one run in MLflow. {len(runs)} are called so; give an id: {ids}.")
        return _record(client, runs[0]) if runs else None


def by_outputs(md5s: Mapping[str, str]) -> Record | None:
    """The first run with these outputs, of every stage that is named; None where there is none.

    md5s: stage -> one md5 for all outputs, as `lock.md5s` has it.
    """
    return _first(identity.with_outputs(md5s)) if md5s else None


def by_model(md5: str) -> Record | None:
    """The first run whose model's file has this md5; None where there is none."""
    return _first(f"tags.`{ledger.MODEL}` = '{md5}'")


def _first(wanted: str) -> Record | None:
    if server.is_unmade():
        return None
    client = _client()
    with server.faults():
        experiments = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(experiments, wanted, order_by=["start_time ASC"], max_results=1)
        return _record(client, found[0]) if found else None


def _client() -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient(server.uri())


def _record(client: MlflowClient, run: Run) -> Record:
    run_id, name = run.info.run_id, f"MLflow run {run.info.run_name} ({run.info.run_id})"
    commit = run.data.tags.get("mlflow.source.git.commit", "")
    stages = _json(client, run_id, mirror.STAGES)
    if not commit or stages is None:
        lacking = mirror.STAGES if commit else "tag of a commit"
        raise StaleError(
            f"{name}: must name its commit and its outputs. It has no {lacking}"
            ": only a run of `dvc repro` in a git repository that was finished can be reproduced."
        )
    found = _json(client, run_id, mirror.ENVIRONMENT)
    return Record(
        name,
        commit,
        _text(client, run_id, UNCOMMITTED) or "",
        {stage: state["md5"] for stage, state in stages.items()},
        _text(client, run_id, mirror.LOCKED) or "",
        environment.parsed(found, name) if found is not None else None,
        _json(client, run_id, EVALUATION),
    )


def _json(client: MlflowClient, run_id: str, path: str) -> dict[str, Any] | None:
    text = _text(client, run_id, path)
    return None if text is None else dict(json.loads(text))


def _text(client: MlflowClient, run_id: str, path: str) -> str | None:
    data = artefacts.content(client, run_id, path)
    return None if data is None else data.decode("utf-8")
