"""The state of the code: MLflow's own guess fails for a command installed in an ignored `.venv`."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

READ_BYTES = 2**28
"""The bytes of untracked files that are read, the smallest first, which code is: photos cost a second, not minutes."""


@dataclass(frozen=True)
class CodeState:
    """commit: 40 hex digits, or "" outside a repository. diff: of tracked files against it, "" if clean.

    untracked: path of each file that is neither tracked nor ignored -> what it holds, as `_content` says.
    """

    commit: str
    dirty: bool
    diff: str
    untracked: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """12 hex digits over all of it."""
        text = f"{self.commit}{self.diff}{self._listing}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    @property
    def uncommitted(self) -> str:
        """The diff, and a line for each untracked file, by hash: what nobody added may be a password."""
        return (self.diff + self._listing).encode("utf-8", "replace").decode()

    @property
    def _listing(self) -> str:
        return "".join(f"untracked {content} {path}\n" for path, content in sorted(self.untracked.items()))


def state(folder: Path, written: Iterable[str]) -> CodeState:
    """What `git` says of `folder`. Untracked files count as dirty, ignored ones do not.

    written: paths that the pipeline itself writes while it runs, and patterns of git's for such; left out.
    """
    paths = ["--", ".", *(f":(exclude){path}" for path in written)]
    commit = _git(folder, "rev-parse", "HEAD").strip().decode()
    status = _git(folder, "status", "--porcelain", "--untracked-files=all", *paths)
    diff = _git(folder, "diff", "HEAD", *paths).decode("utf-8", "replace") if commit else ""
    listed = _git(folder, "ls-files", "--others", "--exclude-standard", "-z", *paths)
    return CodeState(commit, bool(status.strip()), diff, _contents(folder, _names(listed)))


def changed(folder: Path, written: Iterable[str]) -> list[str]:
    """Tracked files that differ from the commit, relative to the repository's root; `written` as in `state`."""
    paths = ["--", ".", *(f":(exclude){path}" for path in written)]
    return _names(_git(folder, "diff", "--name-only", "-z", "HEAD", *paths))


def ignored(folder: Path, paths: Iterable[str]) -> list[str]:
    """Those that git is told to ignore and does not hold already."""
    listed = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    return _names(_git(folder, "check-ignore", "-z", "--stdin", text=listed))


def tracked(folder: Path, paths: Iterable[str]) -> list[str]:
    """Those that git holds, or holds something of."""
    held = _names(_git(folder, "ls-files", "-z", "--", *paths))
    return [path for path in paths if any(one == path or one.startswith(f"{path}/") for one in held)]


def _names(listed: bytes) -> list[str]:
    return [path.decode("utf-8", "surrogateescape") for path in listed.split(b"\0") if path]


def committed(folder: Path, path: Path, commit: str = "HEAD") -> bytes | None:
    """What a commit holds at a path relative to `folder`; None where it holds nothing, or there is none."""
    return _git(folder, "show", f"{commit}:./{path.as_posix()}") or None


def prefix(folder: Path) -> str:
    """Where `folder` lies in its repository: `a/b/`, or "" for its root."""
    return _git(folder, "rev-parse", "--show-prefix").decode("utf-8", "surrogateescape").rstrip("\n")


def versions(folder: Path, path: Path) -> list[str]:
    """Each text that a path relative to `folder` has had, in whatever branch, tag or DVC experiment, once."""
    raw = ("--raw", "--no-abbrev", "--no-renames", "-m", "--format=", "--full-history")
    changes = _git(folder, "-c", "log.showRoot=true", "log", "--all", *raw, "--", path.as_posix()).splitlines()
    blobs = {line.split()[3] for line in changes if line.startswith(b":")}  # :<modes> <before> <after> <letter>
    told = _git(folder, "cat-file", "--batch", text=b"".join(blob + b"\n" for blob in sorted(blobs)))
    found = []
    while told:
        head, _, told = told.partition(b"\n")
        _, kind, *size = head.split()
        if kind == b"blob":  # what was deleted is `missing`
            found.append(told[: int(size[0])].decode("utf-8", "replace"))
            told = told[int(size[0]) + 1 :]
    return found


def commits_with(folder: Path, text: str, path: Path) -> list[str]:
    """The commits that brought or took a text in a file, in whatever branch, tag or DVC experiment; the first first."""
    form = ("--format=%H", "--reverse", "--topo-order")
    return _git(folder, "log", "--all", *form, f"-S{text}", "--", path.as_posix()).decode().split()


def revision(folder: Path, name: str) -> str | None:
    """The commit that git or DVC calls so: a hash, branch, tag, `HEAD~1` or experiment; None where there is none.

    Of several experiments of one name it is the one that started from HEAD, else the newest.
    """
    commit = _commit(folder, name)
    if commit is None and name:
        head = _commit(folder, "HEAD")
        named = [one for one in _experiments(folder) if one.name == name]
        commit = next((one.commit for one in sorted(named, key=lambda one: one.baseline != head)), None)
    return commit


def _commit(folder: Path, name: str) -> str | None:
    found = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return found.decode().strip() or None


def experiments(folder: Path) -> list[Experiment]:
    """DVC's, by their names; the newest of a name."""
    newest = {one.name: one for one in reversed(_experiments(folder))}
    return [newest[name] for name in sorted(newest)]


class Experiment(NamedTuple):
    """One of DVC's. baseline: the commit that it started from."""

    name: str
    commit: str
    baseline: str


def _experiments(folder: Path) -> list[Experiment]:
    """DVC's, the newest first: refs/exps/<2 hex digits>/<38>/<name>."""
    form = ("--sort=-committerdate", "--format=%(objectname) %(refname)")
    listed = _git(folder, "for-each-ref", *form, "refs/exps/").decode("utf-8", "replace")
    found = []
    for line in listed.splitlines():
        commit, _, ref = line.partition(" ")
        parts = ref.split("/", 4)
        if len(parts) == 5 and len(parts[2]) == 2 and len(parts[3]) == 38:
            found.append(Experiment(parts[4], commit, parts[2] + parts[3]))
    return found


def _contents(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """path -> "sha256:<hex digits>", "link:<target>", or "bytes:<size>" of what is beyond READ_BYTES."""
    found: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for path in paths:
        try:
            status = (folder / path).lstat()
            if stat.S_ISLNK(status.st_mode):
                found[path] = f"link:{os.readlink(folder / path)}"
            elif stat.S_ISREG(status.st_mode):
                sizes[path] = status.st_size
            else:
                found[path] = "other:"  # a repository of its own, which git lists as a folder
        except OSError:  # gone meanwhile
            continue
    left = READ_BYTES
    for path in sorted(sizes, key=lambda path: (sizes[path], path)):
        left -= sizes[path]
        found[path] = (_sha256(folder / path) if left >= 0 else None) or f"bytes:{sizes[path]}"
    return found


def _sha256(path: Path) -> str | None:
    """None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return None


def _git(folder: Path, *arguments: str, text: bytes = b"") -> bytes:
    """What it prints, given `text` to read; nothing where it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, input=text, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
