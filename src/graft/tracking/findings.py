"""What a probe, a study or an audit found, as a run of its own in MLflow: its tables and pictures, and its figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from graft.tracking import server

KIND = "graft.kind"


def log(
    kind: str,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    metrics: Iterable[tuple[str, float, int]],
    files: Sequence[Path],
) -> str:
    """kind: probe, study or audit; the folder of the files, too. metrics: name, value, step.

    Returns the run's id. Raises TrackingError where the store or server cannot be used.
    """
    client, experiment_id = server.connect(experiment)
    with server.faults():
        run = client.create_run(experiment_id, tags={KIND: kind, **tags}, run_name=name)
        run_id: str = run.info.run_id
        status = "FAILED"
        try:
            for key, value, step in metrics:
                client.log_metric(run_id, key, value, step=step)
            for file in files:
                client.log_artifact(run_id, str(file), kind)
            status = "FINISHED"
        finally:
            with suppress(Exception):  # the store may be what failed
                client.set_terminated(run_id, status)
    return run_id
