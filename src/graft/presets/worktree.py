"""A clean worktree of the last commit, with the project's DVC cache, in which something is run and thrown away."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graft.errors import GraftError

ALONE = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT", "PYTHONPATH")
"""Variables of the environment that belong to another run."""


@contextmanager
def clean(project: Path, fresh: bool = False) -> Iterator[tuple[Path, dict[str, str]]]:
    """The worktree's project folder, and the environment in which DVC and graft run there.

    fresh: whether nothing that was computed before is used. Raises GraftError where there is no commit.
    """
    top = _said(project, "git", "rev-parse", "--show-toplevel")
    below = _said(project, "git", "rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix="graft-verify-") as folder:
        tree = Path(folder) / "worktree"
        _said(project, "git", "worktree", "add", "--detach", "--quiet", str(tree), "HEAD")
        try:
            place = tree / below
            environment = {key: value for key, value in os.environ.items() if key not in ALONE}
            environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
            if (place / "src" / "graft").is_dir():
                environment["PYTHONPATH"] = str(place / "src")
            if fresh:
                environment["GRAFT_CACHE_DIR"] = str(Path(folder) / "cache")
            else:
                cache = _said(project, sys.executable, "-m", "dvc", "cache", "dir")
                _said(place, sys.executable, "-m", "dvc", "cache", "dir", "--local", cache)
            yield place, environment
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=top, check=False)


def _said(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GraftError(
            f"{folder}: must be a project under git and DVC with a commit. `{' '.join(command[-4:])}` said: "
            f"{' '.join(done.stderr.split())}"
        )
    return done.stdout.strip()
