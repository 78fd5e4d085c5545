"""Runs that DVC experiments belong to, also where DVC had every stage cached and started nothing.

An experiment's commit has its dvc.lock and params.yaml; the run of the same outputs and parameters is its run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graft.config import yaml_file
from graft.config.load import FILE, of_tree
from graft.errors import ParamsError
from graft.pipeline import lock
from graft.tracking import git, names, server

TAG = "dvc.exp_name"
"""DVC's own name for it; several experiments of one run stand in it side by side."""


def tag(experiment: str) -> list[str]:
    """Tag the runs in an MLflow experiment with their DVC experiments' names; returns a line for each of these."""
    client, experiment_id = server.connect(experiment)
    lines = []
    with server.faults():
        for name, commit in sorted(git.experiments(Path.cwd()).items()):
            texts = [git.committed(Path.cwd(), path, commit) for path in (FILE, lock.LOCK)]
            try:
                tree, locked = (yaml_file.parse((text or b"").decode("utf-8", "replace"), name) for text in texts)
                params = of_tree(tree, name)
            except ParamsError:
                lines.append(f"{name}: holds no params.yaml and dvc.lock that this graft reads")
                continue
            run = _run_of(client, experiment_id, params.flat(), lock.md5s(locked))
            if run is None:
                lines.append(f"{name}: no run; `dvc exp apply {name}`, then `graft log`")
                continue
            known = [one for one in run.data.tags.get(TAG, "").split(", ") if one]
            if name not in known:
                client.set_tag(run.info.run_id, TAG, ", ".join([*known, name]))
            lines.append(f"{name}: {run.info.run_name} ({run.info.run_id})")
    return lines


def _run_of(client: Any, experiment_id: str, values: dict[str, Any], stages: dict[str, str]) -> Any | None:
    """The newest run whose stages gave these outputs and whose parameters are these."""
    if not stages:
        return None
    wanted = " and ".join(f"tags.`graft.stage.{stage}` LIKE '% {md5}'" for stage, md5 in stages.items())
    for run in client.search_runs([experiment_id], wanted, order_by=["start_time DESC"]):
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
