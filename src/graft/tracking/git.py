"""The state of the code: MLflow's own guess fails for a command installed in an ignored `.venv`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CodeState:
    """commit: 40 hex digits, or "" outside a repository. diff: of tracked files against it, "" if clean."""

    commit: str
    dirty: bool
    diff: str


def state(folder: Path, written: Iterable[str]) -> CodeState:
    """What `git` says of `folder`. Untracked files count as dirty, ignored ones do not.

    written: paths that the pipeline itself writes while it runs, left out.
    """
    paths = ["--", ".", *(f":(exclude){path}" for path in written)]
    commit = _git(folder, "rev-parse", "HEAD").strip()
    status = _git(folder, "status", "--porcelain", "--untracked-files=all", *paths)
    diff = _git(folder, "diff", "HEAD", *paths) if commit else ""
    return CodeState(commit, bool(status.strip()), diff)


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
