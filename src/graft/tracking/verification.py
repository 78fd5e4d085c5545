"""What `graft verify` found, as a run of its own in MLflow, beside the runs that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graft.errors import TrackingError
from graft.runtime.progress import say
from graft.tracking import server

EXPERIMENT = "verification"
FILE = "verification.json"


def log(results: Sequence[Mapping[str, Any]]) -> None:
    """A run of the experiment `verification`: a metric for each claim that was tried, a tag for each verdict, and all
    results as FILE. A word where MLflow cannot take them: they have been printed.

    results: as `presets.verify.Result.to_dict` gives them.
    """
    if not results:
        return
    try:
        client, experiment_id = server.connect(EXPERIMENT)
        presets = sorted({one["preset"] for one in results})
        with server.faults():
            run = client.create_run(experiment_id, run_name=", ".join(presets)[:200])
            for one in results:
                name = f"{one['preset']}.{one['metric']}"
                client.set_tag(run.info.run_id, f"graft.verdict.{name}", one["verdict"])
                if one["got"] is not None:
                    client.log_metric(run.info.run_id, name, one["got"])
            client.log_dict(run.info.run_id, list(results), FILE)
            client.set_terminated(run.info.run_id)
    except TrackingError as error:
        say(f"note: not logged to MLflow. {error}")
