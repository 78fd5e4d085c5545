"""A clean worktree of a commit, with the project's DVC cache, in which something is run and thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from graft.errors import GraftError

ALONE = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT", "PYTHONPATH")
"""Variables of the environment that belong to another run."""

NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")
"""To Git: what a user has it do after a checkout, `dvc checkout` say, is not meant for a worktree that goes again."""

CACHE = "GRAFT_CACHE_DIR"
"""In the environment: where graft keeps features of single examples."""


@dataclass(frozen=True)
class Worktree:
    """top: the worktree. folder: of the project in it. environment: in which DVC and graft run there.

    beside: a folder that is thrown away with it. cache: of DVC's, the project's own, which the worktree shares.
    """

    top: Path
    folder: Path
    environment: dict[str, str]
    beside: Path
    cache: Path


@contextmanager
def clean(project: Path, fresh: bool = False) -> Iterator[tuple[Path, dict[str, str]]]:
    """The project's folder in a worktree of the last commit, and the environment in which DVC and graft run there.

    fresh: whether nothing that was computed before is used. Raises GraftError where there is no commit.
    """
    with at(project) as tree:
        if fresh:
            _said(tree.folder, sys.executable, "-m", "dvc", "cache", "dir", "--local", "--unset")
            yield tree.folder, tree.environment | {CACHE: str(tree.beside / "cache")}
        else:
            yield tree.folder, tree.environment


@contextmanager
def at(project: Path, commit: str = "HEAD", keep: bool = False) -> Iterator[Worktree]:
    """keep: whether the worktree stays when all is done. Raises GraftError where there is no such commit."""
    top = _said(project, "git", "rev-parse", "--show-toplevel")
    below = _said(project, "git", "rev-parse", "--show-prefix")
    cache = Path(_said(project, sys.executable, "-m", "dvc", "cache", "dir"))
    beside = Path(tempfile.mkdtemp(prefix="graft-worktree-"))
    tree = beside / "worktree"
    try:
        _said(project, "git", *NO_HOOKS, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        try:
            place = tree / below
            _said(place, sys.executable, "-m", "dvc", "cache", "dir", "--local", str(cache))
            yield Worktree(tree, place, _environment(place), beside, cache)
        finally:
            if not keep:
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=top, check=False)
    finally:
        if not (keep and tree.is_dir()):
            shutil.rmtree(beside, ignore_errors=True)


def _environment(place: Path) -> dict[str, str]:
    found = {key: value for key, value in os.environ.items() if key not in ALONE}
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', '')}"
    if (place / "src" / "graft" / "__main__.py").is_file():  # an earlier one is found by the command's own entry
        found["PYTHONPATH"] = str(place / "src")
    return found


def _said(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GraftError(
            f"{folder}: must be a project under git and DVC with a commit. `{' '.join(command[-4:])}` said: "
            f"{' '.join(done.stderr.split())}"
        )
    return done.stdout.strip()
