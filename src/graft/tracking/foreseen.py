"""What the next pass will do to MLflow. Nothing is made there, and no dead server is waited for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import TrackingError
from graft.tracking import git, names, server, sought
from graft.tracking.identity import CODE, COMPLETE, pass_id
from graft.tracking.sought import Found

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

WAIT_SECONDS = 2.0
"""What a server may take to answer."""

NEW, SAME, AGAIN, RESUMED, NOTHING, UNKNOWN = "new", "same", "again", "resumed", "nothing", "unknown"
"""What becomes of MLflow's runs: one more; none, as this very pass is there; the same, computed again and compared;
one goes on; none, as nothing starts; nobody knows."""


@dataclass(frozen=True)
class Foreseen:
    """kind: NEW, SAME, ... sentence: the same in words. run: id of the run that is there already."""

    kind: str
    sentence: str
    run: str | None = None


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
        if starts and (silent := _silent(params.tracking.experiment)):
            return silent
        if not starts:
            return Foreseen(NOTHING, "nothing starts that logs a run; `graft log` logs what DVC restores")
        return Foreseen(NEW, f"{new}, unless this very pass is there already, which is known once `extract` has run")
    try:
        found = sought.of_pass(params.tracking.experiment, pass_id(params, paths), WAIT_SECONDS)
    except TrackingError as error:
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


def _silent(experiment: str) -> Foreseen | None:
    """Where a server or a database does not answer; None where it does, or runs go to a file."""
    try:
        if server.is_remote():
            server.require_answer(server.uri(), WAIT_SECONDS)
        elif server.store_file() is None:
            sought.of_pass(experiment, "", WAIT_SECONDS)
    except TrackingError as error:
        return _unknown(error, True)
    return None


def _unknown(error: Exception, starts: bool) -> Foreseen:
    effect = "training will stop before it starts" if starts else "nothing is logged"
    return Foreseen(UNKNOWN, f"{server.shown()} does not answer now ({_short(error)}): as it is, {effect}")


def _unfinished(found: list[Found]) -> Found | None:
    """The run that would go on: of the same code, as `tracking.run` looks for it."""
    if not found:
        return None
    from graft.tracking import run  # which brings MLflow

    code = git.state(Path.cwd(), run.written()).digest
    return next((one for one in found if one.tags.get(CODE) == code and run.is_resumed(one.tags)), None)


def _short(error: Exception) -> str:
    text = str(error)
    return text.split("Got: ", 1)[-1].split(". ")[0]
