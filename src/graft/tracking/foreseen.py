"""What the next pass will do to MLflow. Nothing is made there, and no dead server is waited for.

An SQLite store is read as it is: MLflow would take seconds to start.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import TrackingError
from graft.tracking import git, names, server
from graft.tracking.identity import CODE, COMPLETE, PASS, pass_id

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

WAIT_SECONDS = 2.0
"""What a server may take to answer."""

NEW, SAME, AGAIN, RESUMED, NOTHING, UNKNOWN = "new", "same", "again", "resumed", "nothing", "unknown"
"""What becomes of MLflow's runs: one more; none, as this very pass is there; the same, computed again and compared;
one goes on; none, as nothing starts; nobody knows."""

RUNS_OF_PASS = (
    "SELECT runs.run_uuid, runs.name FROM runs JOIN experiments USING (experiment_id) JOIN tags USING (run_uuid) "
    "WHERE experiments.name = ? AND runs.lifecycle_stage = 'active' AND tags.key = ? AND tags.value = ? "
    "ORDER BY runs.start_time DESC"
)
TAGS = "SELECT key, value FROM tags WHERE run_uuid = ?"


@dataclass(frozen=True)
class Foreseen:
    """kind: NEW, SAME, ... sentence: the same in words. run: id of the run that is there already."""

    kind: str
    sentence: str
    run: str | None = None


@dataclass(frozen=True)
class _Found:
    run_id: str
    name: str
    tags: dict[str, str]

    @property
    def shown(self) -> str:
        return f"{self.name} ({self.run_id})"


def of(params: Params, paths: Paths, inputs_known: bool, starts: bool) -> Foreseen:
    """inputs_known: whether the catalogue, the split and the features are those of the next pass already.
    starts: whether a stage that logs starts, or may."""
    name = params.tracking.run_name or names.of(params)
    where = server.shown() if os.environ.get("MLFLOW_TRACKING_URI") else server.STORE
    new = f"a new run, {name!r}, in {where}"
    known = inputs_known and all(
        path.is_file()
        for path in (paths.catalogue, paths.split, paths.features / "meta.json", paths.activations / "meta.json")
    )
    if not known:
        if starts and (silent := _silent()):
            return silent
        if not starts:
            return Foreseen(NOTHING, "nothing starts that logs a run; `graft log` logs what DVC restores")
        return Foreseen(NEW, f"{new}, unless this very pass is there already, which is known once `extract` has run")
    try:
        found = _found(params.tracking.experiment, pass_id(params, paths))
    except (TrackingError, sqlite3.Error) as error:
        return _unknown(error, starts)
    complete = next((one for one in found if one.tags.get(COMPLETE) == "true"), None)
    if complete is not None:
        same = f"run {complete.shown} of this very pass is there"
        if not starts:
            return Foreseen(SAME, f"nothing new: {same}", complete.run_id)
        return Foreseen(
            AGAIN, f"{same}; computed again and compared, a new run only where bytes differ", complete.run_id
        )
    if not starts:
        return Foreseen(NOTHING, "nothing starts that logs a run, and this pass has none: `graft log` makes it")
    open_run = _unfinished(found)
    if open_run is not None:
        return Foreseen(RESUMED, f"run {open_run.shown}, which did not come to its end, goes on", open_run.run_id)
    return Foreseen(NEW, new)


def _silent() -> Foreseen | None:
    """Where a server does not answer; None where it does, or there is none."""
    try:
        if server.is_remote():
            server.require_answer(server.uri(), WAIT_SECONDS)
    except TrackingError as error:
        return _unknown(error, True)
    return None


def _unknown(error: Exception, starts: bool) -> Foreseen:
    effect = "training will stop before it starts" if starts else "nothing is logged"
    return Foreseen(UNKNOWN, f"{server.shown()} does not answer now ({_short(error)}): as it is, {effect}")


def _unfinished(found: list[_Found]) -> _Found | None:
    """The run that would go on: of the same code, as `tracking.run` looks for it."""
    if not found:
        return None
    from graft.tracking import run  # which brings MLflow

    code = git.state(Path.cwd(), run.written()).digest
    return next((one for one in found if one.tags.get(CODE) == code and run.is_resumed(one.tags)), None)


def _short(error: Exception) -> str:
    text = str(error)
    return text.split("Got: ", 1)[-1].split(". ")[0]


def _found(experiment: str, this: str) -> list[_Found]:
    """The runs of a pass, the newest first; none where there is no store yet."""
    file = server.store_file()
    if file is None:
        return _in_server(experiment, this)
    return _in_file(file, experiment, this) if file.is_file() else []


def _in_file(file: Path, experiment: str, this: str) -> list[_Found]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as database:
        rows = database.execute(RUNS_OF_PASS, (experiment, PASS, this)).fetchall()
        return [_Found(run_id, name, dict(database.execute(TAGS, (run_id,)))) for run_id, name in rows]


def _in_server(experiment: str, this: str) -> list[_Found]:
    if not server.is_remote():
        raise TrackingError("Got: a database that is not asked before a pass")
    with server.faults():
        client = server.looking(WAIT_SECONDS)
        there = client.get_experiment_by_name(experiment)
        if there is None:
            return []
        wanted = f"tags.`{PASS}` = '{this}'"
        runs = client.search_runs([there.experiment_id], wanted, order_by=["start_time DESC"])
        return [_Found(one.info.run_id, one.info.run_name, one.data.tags) for one in runs]
