"""Which files Git's hooks are here, and writing graft's lines into them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from graft.errors import SurroundingsError
from graft.hooks import after, lines

NAMES = ("post-checkout", "post-merge", "post-commit")
"""After what changes params.yaml and dvc.lock without a stage: a step to another branch (where DVC's own hook has
`dvc checkout` bring the files), a pull of what colleagues ran, a commit of what DVC restored. They run when all is
done, so that none of them can stop Git.
"""


def install(project: Path) -> list[Path]:
    """Add graft's lines to the hooks of the repository that `project` lies in; returns the files.

    Raises SurroundingsError where there is no repository, or a file is there that they cannot be added to; then
    nothing is written.
    """
    own = _lines(project)
    files = _files(project)
    texts = [lines.added(_content(file) or lines.FIRST, own) for file in files]
    for file, text in zip(files, texts, strict=True):
        _write(file, text)
    return files


def remove(project: Path) -> list[Path]:
    """Take them away again; returns the files that had them. One that holds nothing else is deleted."""
    own = _lines(project)
    found = []
    for file in _files(project):
        content = _read(file)
        kept = None if content is None else lines.without(content, own)
        if kept is None or kept == content:
            continue
        found.append(file)
        if kept.strip() in ("", lines.FIRST.strip()):
            file.unlink()
        else:
            _write(file, kept)
    return found


def _lines(project: Path) -> str:
    below = _git(project, "rev-parse", "--show-prefix") or "."
    return lines.of(below, sys.executable, str(after.NOTED), str(after.LOG))


def _files(project: Path) -> list[Path]:
    """Where Git looks: `core.hooksPath`, or the folder that all worktrees of a repository have in common."""
    asked = subprocess.run(
        ["git", "config", "--type=path", "core.hooksPath"], cwd=project, capture_output=True, text=True, check=False
    ).stdout.rstrip("\n")
    top = Path(project, _git(project, "rev-parse", "--show-toplevel"))
    folder = top / asked if asked else Path(project, _git(project, "rev-parse", "--git-path", "hooks"))
    return [folder / name for name in NAMES]


def _content(file: Path) -> str | None:
    """What a hook's file holds that lines may be added to; None where there is none."""
    content = _read(file)
    if content is None:
        return None
    if not lines.is_shell(content):
        raise SurroundingsError(
            f"{file}: must be a shell script, so that graft's lines can be added to it. It begins with "
            f"{content.partition(chr(10))[0]!r}. Have it run `graft hooks after` itself, in the background, or move it."
        )
    if not os.access(file, os.X_OK):
        raise SurroundingsError(
            f"{file}: must be executable, since Git passes over it otherwise. Run `chmod +x` on it, or move it away if "
            "it shall not run."
        )
    return content


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SurroundingsError(f"{file}: must be a file that can be read. Got: {error.strerror}.") from None


def _write(file: Path, text: str) -> None:
    """Whole, beside the one that may run just now; a link stays one."""
    target = file.resolve()
    new = target.with_name(f"{target.name}.graft-new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode if target.exists() else 0o755
        new.write_text(text, encoding="utf-8", errors="surrogateescape")
        new.chmod(mode & 0o7777)
        new.replace(target)
    except OSError as error:
        raise SurroundingsError(f"{file}: must be a file that can be written. Got: {error.strerror}.") from None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SurroundingsError(
            f"{folder}: must lie in a Git repository, whose hooks these are. `git {' '.join(arguments)}` said: "
            f"{' '.join(done.stderr.split())}"
        )
    return done.stdout.rstrip("\n")
