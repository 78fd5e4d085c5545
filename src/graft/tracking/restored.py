"""The run of a DVC experiment that started no Python: `graft log` in a worktree, on what DVC's cache holds of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from graft.config import yaml_file
from graft.config.load import FILE
from graft.errors import ParamsError, TrackingError
from graft.pipeline import worktree
from graft.tracking import git, server


def log(experiment: git.Experiment) -> str:
    """Make the experiment's run; returns its id. Raises TrackingError where DVC's cache lacks a file of it, say.

    The worktree is at the commit that the experiment started from and holds the experiment's files, as DVC has it when
    an experiment runs: so that the run is called by what the experiment changed.
    """
    project = Path.cwd()
    with worktree.at(project, experiment.baseline) as tree:
        environment = tree.environment | _to_the_same_store(experiment.name)
        _told(tree.top, environment, "git", "read-tree", "-u", "--reset", experiment.commit)
        _told(tree.folder, environment, sys.executable, "-m", "dvc", "checkout", "--allow-missing", "--quiet")
        _link_data(project, tree.folder)
        said = _told(tree.folder, environment, sys.executable, "-m", "graft", "log")
    return said.split()[-1]


def _to_the_same_store(experiment: str) -> dict[str, str]:
    given = os.environ.get("MLFLOW_TRACKING_URI")
    place = {"DVC_ROOT": str(server.root()), "DVC_EXP_NAME": experiment}
    return place | ({"MLFLOW_TRACKING_URI": given} if given else {})


def _link_data(project: Path, folder: Path) -> None:
    """The data that git does not hold: a run shows some of it."""
    with suppress(ParamsError, KeyError, TypeError):
        path = Path(str(yaml_file.read(folder / FILE)["data"]["path"]))
        there = folder / path
        if not there.exists() and (project / path).exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to((project / path).resolve())


def _told(folder: Path, environment: Mapping[str, str], *command: str) -> str:
    """What a command prints that runs in the worktree."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise TrackingError(f"`{' '.join(command[-2:])}` said: {last.removeprefix('graft: ')}")
    return done.stdout
