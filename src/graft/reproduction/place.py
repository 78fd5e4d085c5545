"""The worktree as the original had it: its diff, its data and weights, the remotes of the clone."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from graft.config import yaml_file
from graft.config.load import FILE
from graft.errors import NotJudgedError, ParamsError, listing
from graft.pipeline import layout
from graft.pipeline.worktree import Worktree
from graft.reproduction.original import Original
from graft.runtime.progress import say

LOCAL_CONFIG = Path(".dvc/config.local")
URL = re.compile(r"remote\.(.+)\.url=(.+)")
"""A line of `dvc config --list`."""


def set_up(original: Original, tree: Worktree, project: Path) -> None:
    """Apply the original's diff; fetch, or link to, the data and weights that git does not hold.

    Raises NotJudgedError where the diff does not apply.
    """
    _apply(original, tree)
    _bring_untracked(original, tree, project)
    _know_remotes(tree, project)
    for path in _named_files(tree.folder):
        _bring(path, tree, project)


def paths(folder: Path) -> dict[str, Path]:
    """name -> path of the pipeline there; an earlier graft had fewer of them than `layout.read` asks for."""
    try:
        named = dict(yaml_file.read(folder / layout.FILE)["vars"][0]["paths"])
    except (ParamsError, KeyError, IndexError, TypeError, ValueError):
        raise NotJudgedError(
            f"{layout.FILE} of the original: must name its paths under `vars`, as `- paths:`. It does not, so that it "
            "is no pipeline of graft's."
        ) from None
    return {name: Path(str(path)) for name, path in named.items()}


def data_path(folder: Path) -> Path:
    """Where the examples of a pass are, as params.yaml there says; raises NotJudgedError where it says nothing."""
    try:
        return folder / str(yaml_file.read(folder / FILE)["data"]["path"])
    except (ParamsError, KeyError, TypeError):
        raise NotJudgedError(f"{FILE} of the original: must name data.path. It does not.") from None


def _apply(original: Original, tree: Worktree) -> None:
    if not original.diff.strip():
        return
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    data = original.diff.encode("utf-8", "surrogateescape")
    done = subprocess.run(command, cwd=tree.top, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise NotJudgedError(
            f"{original.name}: what was not committed must apply to {original.commit[:7]}. `git apply` said: {said}. "
            "The diff is the run's artefact code/uncommitted.diff; files that are no text are not in it."
        )


def _bring_untracked(original: Original, tree: Worktree, project: Path) -> None:
    """Files that git did not know, where they are still as they were; a word about the others."""
    lost = []
    for path, content in (original.untracked or {}).items():
        here, there = project / path, tree.folder / path
        if here.is_file() and content == f"sha256:{_sha256(here)}":
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(here, there)
        else:
            lost.append(path)
    if lost:
        say(f"note: git did not know {listing(lost, 5)} when the original ran, and here it is not the same any more")


def _named_files(folder: Path) -> list[Path]:
    """What params.yaml names by path: the data, and a file or folder of weights."""
    with suppress(ParamsError, KeyError, TypeError):
        tree = yaml_file.read(folder / FILE)
        weights = str(tree["backbone"]["weights"])
        return [Path(str(tree["data"]["path"])), *([Path(weights)] if "/" in weights else [])]
    return []


def _bring(path: Path, tree: Worktree, project: Path) -> None:
    """By DVC where it tracks the path; else a link to what the project has there today."""
    there = tree.folder / path
    pointer = there.with_name(f"{there.name}.dvc")
    for command in ("checkout", "pull") if pointer.is_file() else ():
        if not there.exists():
            asked_dvc(tree, command, str(pointer))
    if not there.exists() and (project / path).exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to((project / path).resolve())


def _know_remotes(tree: Worktree, project: Path) -> None:
    """The remotes that only this clone has; those on this machine by their whole path, which may be relative to it."""
    if (project / LOCAL_CONFIG).is_file():
        text = (project / LOCAL_CONFIG).read_text(encoding="utf-8")
        (tree.folder / LOCAL_CONFIG).write_text(text, encoding="utf-8")
        asked_dvc(tree, "cache", "dir", "--local", str(tree.cache))
    configs = [project / ".dvc" / "config", project / LOCAL_CONFIG]
    if not any("remote" in file.read_text(encoding="utf-8") for file in configs if file.is_file()):
        return  # as in most projects, where DVC need not be asked
    command = [sys.executable, "-m", "dvc", "config", "--list"]
    listed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        if (found := URL.fullmatch(line)) and "://" not in found[2]:
            asked_dvc(tree, "remote", "modify", "--local", found[1], "url", str((project / found[2]).resolve()))


def asked_dvc(tree: Worktree, *arguments: str) -> bool:
    """Whether DVC could do it; it is asked for files that may be nowhere, and says so to nobody."""
    command: Sequence[str] = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=tree.folder, capture_output=True, check=False).returncode == 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
