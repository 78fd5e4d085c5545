"""Exported models in MLflow: in the run of the pass whose model they are, else in a run of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from graft.runtime.progress import say
from graft.tracking import findings, server
from graft.tracking.run import COMPLETE, PASS, find, pass_id

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Exports, Paths

KIND = "export"
MOST_BYTES = 200_000_000
"""Of an exported model; a larger one is not copied into MLflow's store."""


def log(
    params: Params, paths: Paths, exports: Exports, found: Mapping[str, Mapping[str, Mapping[str, Any]]], own: bool
) -> str:
    """The figures as metrics `export/<format>/<precision>/...`, the metrics' files, and the models; returns a run's id.

    own: whether it is the model of this project's pass, and belongs into that one's run. Raises TrackingError.
    """
    client, experiment_id = server.connect(params.tracking.experiment)
    run = None
    if own and (this := _pass(params, paths)) is not None:
        with server.faults():
            run = find(client, experiment_id, {PASS: this, COMPLETE: "true"})
    files = [exports.metrics / f"{name}.json" for name in found]
    if run is None:
        run_id = findings.log(KIND, params.tracking.experiment, "export", {}, list(_metrics(found)), files)
    else:
        run_id = run.info.run_id
        with server.faults():
            for key, value, step in _metrics(found):
                client.log_metric(run_id, key, value, step=step)
            for file in files:
                client.log_artifact(run_id, str(file), KIND)
    for name, precisions in found.items():
        for precision, one in precisions.items():
            if one["megabytes"] * 1e6 > MOST_BYTES:
                say(f"note: {name} {precision} is larger than {MOST_BYTES / 1e6:.0f} MB, and not copied into MLflow")
                continue
            with server.faults():
                folder = exports.models / name / precision
                client.log_artifacts(run_id, str(folder), f"{KIND}/{name}/{precision}")
    say(f"logged to MLflow run {run_id} in {server.shown()}")
    return str(run_id)


def _pass(params: Params, paths: Paths) -> str | None:
    """None where outputs of the pass are gone, which a model outlives."""
    try:
        return pass_id(params, paths)
    except FileNotFoundError:
        return None


def _metrics(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[tuple[str, float, int]]:
    for name, precisions in found.items():
        for precision, one in precisions.items():
            for key, value in _leaves(one):
                yield f"{KIND}/{name}/{precision}/{key}", float(value), 0


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}/")
        else:
            yield f"{above}{key}", value
