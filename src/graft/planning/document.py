"""The whole plan, as plain values: what `graft plan --json` writes, and its table shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from graft.pipeline import layout, session
from graft.planning import dvc_state, examples, passes, records, workload
from graft.planning.workload import Amount
from graft.project import lock
from graft.tracking import foreseen

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths
    from graft.planning.dvc_state import PipelinePlan, StagePlan
    from graft.planning.examples import Examples
    from graft.planning.passes import Passes
    from graft.planning.records import Seconds

LOGS = ("train", "finetune", "evaluate")
"""Stages that log to MLflow."""


def of(params: Params, paths: Paths) -> dict[str, Any]:
    """Raises what `dvc_state.read` raises.

    absent: data that is not here. refused: stages that will not start, since graft.lock names other code for them.
    stages: stage, outcome, why, seconds (low, high; null where nothing is recorded), took (when it ran here last).
    extract: examples, views, passes, of which the cache holds some, bytes; null where it does not run. mlflow: what
    becomes of its runs. saved: by caches in the last pass; null where something is out of date.
    """
    pipeline = dvc_state.read()
    read = _examples(params, paths, pipeline)
    found = passes.of(params, paths, read) if read is not None else None
    took = _took()
    known = all(pipeline.of(stage).outcome == dvc_state.CURRENT for stage in ("prepare", "extract"))
    return {
        "current": pipeline.is_current,
        "absent": list(pipeline.absent),
        "refused": _refused(pipeline),
        "stages": [_stage(one, params, _amount(one, params, paths, pipeline, found), took) for one in pipeline.stages],
        "extract": _extract(found, read) if pipeline.of("extract").starts else None,
        "mlflow": asdict(foreseen.of(params, paths, known, any(pipeline.of(stage).starts for stage in LOGS))),
        "saved": _saved(params, took) if pipeline.is_current else None,
    }


def _refused(pipeline: PipelinePlan) -> list[str]:
    starting = [one.stage for one in pipeline.stages if one.starts]
    if not starting or not lock.FILE.is_file():
        return []
    return [stage for stage in lock.changed() if stage in starting]


def _took() -> dict[str, dict[str, Any]]:
    """stage -> what it took when it ran here last, and whether that was in the last pass."""
    noted = session.took()
    last = max(noted.values(), key=lambda one: one["ended"], default={}).get("session")
    return {
        stage: {key: value for key, value in one.items() if key != "session"} | {"in_last": one["session"] == last}
        for stage, one in noted.items()
    }


def _saved(params: Params, took: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """stages: seconds that those took before which the last pass did not run. passes: that `extract` found in graft's
    cache, and passes_seconds by the recorded rate, null where there is none."""
    cached = [one["seconds"] for stage, one in took.items() if stage in layout.STAGES and not one["in_last"]]
    extract = took.get("extract", {})
    n = max(extract.get("wanted", 0) - extract.get("passes", 0), 0) if extract.get("in_last") else 0
    each = records.rate("extract", params)
    return {"stages": sum(cached), "passes": n, "passes_seconds": None if each is None else n * each}


def _examples(params: Params, paths: Paths, pipeline: PipelinePlan) -> Examples | None:
    """Those that `extract` would read, where it starts."""
    if not pipeline.of("extract").starts:
        return None
    prepare = pipeline.of("prepare")
    there = prepare.files.get(str(paths.catalogue), paths.catalogue)
    if not prepare.starts and there.is_file():
        return examples.of_catalogue(there)
    return examples.foreseen(params.data, paths.catalogue)


def _amount(
    one: StagePlan, params: Params, paths: Paths, pipeline: PipelinePlan, found: Passes | None
) -> Amount | None:
    """How much there is to do for a stage that starts; None where that is not known."""
    if one.stage == "extract" and found is not None:
        return Amount(found.computed, found.computed)
    if one.stage in ("train", "finetune") and one.starts:
        n = workload.n_train(pipeline.of("prepare").files.get(str(paths.split), paths.split))
        return None if n is None else workload.steps(getattr(params, one.stage), n)
    return None


def _stage(one: StagePlan, params: Params, amount: Amount | None, took: Mapping[str, Any]) -> dict[str, Any]:
    seconds: Seconds | None = None
    if one.starts and one.stage in layout.STAGES:
        seconds = records.estimate(one.stage, params, amount)
    return {
        "stage": one.stage,
        "outcome": one.outcome,
        "why": list(one.why),
        "seconds": None if seconds is None else {"low": seconds.low, "high": seconds.high},
        "took": took.get(one.stage),
    }


def _extract(found: Passes | None, read: Examples | None) -> dict[str, Any] | None:
    if found is None or read is None:
        return {"examples": None, "note": "neither the data nor a catalogue is here"}
    return {
        "examples": found.examples,
        "exact": read.exact,
        "views": found.views,
        "passes": found.wanted,
        "held": found.held,
        "computed": found.computed,
        "array_bytes": dict(found.array_bytes),
        "cache_bytes": found.cache_bytes,
        "note": "; ".join(filter(None, (read.note, found.note))),
    }
