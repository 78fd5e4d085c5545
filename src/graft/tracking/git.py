"""The state of the code: MLflow's own guess fails for a command installed in an ignored `.venv`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CodeState:
    """commit: 40 hex digits, or "" outside a repository. diff: of tracked files against it, "" if clean."""

    commit: str
    dirty: bool
    diff: str


def state(folder: Path) -> CodeState:
    """What `git` says of `folder`. Untracked files count as dirty, ignored ones do not.

    `dvc.lock` is left out: DVC rewrites it while the pipeline runs.
    """
    commit = _git(folder, "rev-parse", "HEAD").strip()
    status = _git(folder, "status", "--porcelain", "--", ".", ":(exclude)dvc.lock")
    diff = _git(folder, "diff", "HEAD", "--", ".", ":(exclude)dvc.lock") if commit else ""
    return CodeState(commit, bool(status.strip()), diff)


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
