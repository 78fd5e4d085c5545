"""The original's environment, made anew by pip from its lock file, and kept in graft's cache for the next time."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from graft.errors import NotJudgedError
from graft.pipeline.worktree import Worktree
from graft.reproduction.original import REQUIREMENTS, Original
from graft.runtime import cache
from graft.runtime.progress import say

KIND = "environments"
DONE = ".installed"
SOURCES = Path("pyproject.toml")
"""What a worktree has that holds graft's own sources."""


def environment(original: Original, tree: Worktree) -> Path:
    """The Python of the environment. Raises NotJudgedError where nothing says what it was, or pip cannot make it."""
    pinned = lock_file(original, tree)
    sources = (tree.folder / SOURCES).read_bytes() if (tree.folder / SOURCES).is_file() else b""
    key = hashlib.sha256(pinned.read_bytes() + sources).hexdigest()[:16]
    folder = cache.place() / KIND / key
    if not (folder / DONE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        say(f"environment: made from {pinned.name} in {folder}")
        for command in commands(python_of(original), folder, pinned, tree.folder if sources else None):
            if subprocess.run(command, check=False, stdout=2).returncode != 0:
                raise NotJudgedError(
                    f"{original.name}: pip must make its environment from {pinned.name}. `{' '.join(command)}` "
                    "failed, for the reason above. Without --environment it is computed in the one that is here."
                )
        (folder / DONE).touch()
    return folder / "bin" / "python"


def commands(python: str, folder: Path, pinned: Path, sources: Path | None) -> list[Sequence[str]]:
    """What makes it. A lock file with hashes is held to them. sources: of graft, installed as they lie there."""
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    hashes = ["--require-hashes"] if "--hash=" in pinned.read_text(encoding="utf-8") else []
    found: list[Sequence[str]] = [
        [python, "-m", "venv", str(folder)],
        [*pip, *hashes, "--requirement", str(pinned)],
    ]
    if sources is not None:
        found.append([*pip, "--no-deps", "--no-build-isolation", "--editable", str(sources)])
    return found


def python_of(original: Original) -> str:
    """A Python of the original's version; raises NotJudgedError where there is none on the PATH."""
    recorded = original.environment.python if original.environment else None
    version = ".".join((recorded or "").split(".")[:2])
    if not version or version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise NotJudgedError(
            f"{original.name}: its environment must be made with Python {version}. There is no python{version} on the "
            "PATH. Install it, or go without --environment."
        )
    return found


def lock_file(original: Original, tree: Worktree) -> Path:
    """The repository's own at that commit, else the versions that the run recorded."""
    if (tree.folder / REQUIREMENTS).is_file():
        return tree.folder / REQUIREMENTS
    packages = original.environment.packages if original.environment else {}
    if not packages:
        raise NotJudgedError(
            f"{original.name}: must have recorded its environment to have it rebuilt. There is no {REQUIREMENTS} at "
            "its commit, and no run in MLflow that names its packages. Go without --environment."
        )
    file = tree.beside / "requirements.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in sorted(packages.items())), encoding="utf-8")
    return file
