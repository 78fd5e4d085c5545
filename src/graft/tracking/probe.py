"""A probe as a run of its own in MLflow: the table, the picture, and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from graft.tracking import server

KIND = "graft.kind"


def log(
    experiment: str, name: str, tags: Mapping[str, str], metrics: Mapping[str, float], files: Sequence[Path]
) -> str:
    """Returns the run's id. Raises TrackingError where the store or server cannot be used."""
    client, experiment_id = server.connect(experiment)
    with server.faults():
        run = client.create_run(experiment_id, tags={KIND: "probe", **tags}, run_name=name)
        run_id: str = run.info.run_id
        status = "FAILED"
        try:
            for key, value in metrics.items():
                client.log_metric(run_id, key, value)
            for file in files:
                client.log_artifact(run_id, str(file), "probe")
            status = "FINISHED"
        finally:
            with suppress(Exception):  # the store may be what failed
                client.set_terminated(run_id, status)
    return run_id
