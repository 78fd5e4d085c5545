"""Several people or processes on one pass at the same time: each works on a run of its own, and one run stays.

MLflow knows no two runs apart by what they are, and gives no lock. So a run that is not whole says who works on it,
and whoever has brought one to its end looks whether somebody else has done the same meanwhile.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from graft.pipeline import session
from graft.runtime.progress import say
from graft.tracking.identity import COMPLETE, OUTPUTS, PASS, search

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

HOLDER, HELD = "graft.holder", "graft.held_at"
"""Tags: which process works on the run, as `<host> <pid> <start>`, and since when, in seconds of the epoch."""

LEFT_AFTER_SECONDS = 86_400
"""After which a run of another machine, of whose processes nothing is known here, counts as left."""

SAME_START_SECONDS = 2.0
"""By as much a process's start may differ from one reading to the next: it is reckoned from that of the system."""


def tags() -> dict[str, str]:
    """Of a run that this process works on from now on."""
    return {HOLDER: _holder(), HELD: f"{time.time():.0f}"}


def is_free(held: Mapping[str, str]) -> bool:
    """Whether a run that is not whole may be gone on with: whoever has worked on it is this pass, or has ended.

    held: the run's tags.
    """
    holder = held.get(HOLDER, "")
    if holder in ("", _holder()):  # an earlier graft said nothing
        return True
    host, pid, started = holder.rsplit(" ", 2)
    if host != socket.gethostname():
        return time.time() - float(held[HELD]) > LEFT_AFTER_SECONDS
    try:
        process = psutil.Process(int(pid))
        is_same = abs(process.create_time() - float(started)) < SAME_START_SECONDS
        return not is_same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # it is there, and somebody else's
        return False


def drop_own(client: MlflowClient, experiment_id: str, this: str) -> None:
    """Delete what this process has begun of a pass that somebody else has logged meanwhile. this: the pass's id."""
    for run in search(client, experiment_id, {PASS: this, HOLDER: _holder()}):
        if run.data.tags.get(COMPLETE) != "true":
            _delete(client, run)


def only_first(client: MlflowClient, experiment_id: str, this: str, outputs: str) -> Run:
    """Of the whole runs of a pass with the same outputs the first one stays; returns it.

    Whoever comes here has finished a run before he looks, so that the last to look sees all of them; and all agree on
    which is the first, whatever their clocks say. this: the pass's id. outputs: their digest.
    """
    found = search(client, experiment_id, {PASS: this, COMPLETE: "true", OUTPUTS: outputs})
    first, *others = sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))
    for other in others:
        say(f"note: this pass was logged twice at the same time; MLflow run {other.info.run_id} is deleted again")
        _delete(client, other)
    return first


def _delete(client: MlflowClient, run: Run) -> None:
    """With its models. MLflow keeps what is deleted until `mlflow gc`."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # somebody else was faster, or alone has the right to
        outputs = client.get_run(run.info.run_id).outputs
        for output in outputs.model_outputs if outputs else []:
            client.delete_logged_model(output.model_id)
        client.delete_run(run.info.run_id)


def _holder() -> str:
    """The `dvc` process above, whose stages work on a run one after the other; or this very process."""
    process = session.process_above() or psutil.Process()
    return f"{socket.gethostname()} {process.pid} {process.create_time()}"
