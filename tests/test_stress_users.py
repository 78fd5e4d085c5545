"""Two Unix users on one cache, and disks that are really full: `make stress` runs it, as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import REPOSITORY, make_project, tiny_params, write_drawings

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root may act for other users, and mount"),
]

ANN, BOB, GROUP = 64001, 64002, 64003
"""Ids that no account has."""

ACT = """set -e
accounts=$1 python=$2 closed=$3 user=$4; shift 4
mount --bind "$accounts" /etc/passwd
if [ "$closed" ]; then
    aside=$(mktemp -d); mount --bind "$python" "$aside"; mount -t tmpfs -o mode=755 none "$closed"
    mkdir -p "$python"; mount --bind "$aside" "$python"
fi
umask 002
exec setpriv --reuid=$user --regid=$user --groups=GROUP "$@"
""".replace("GROUP", str(GROUP))
"""In a mount namespace of its own, so that nothing is left: an account for the user, whom DVC looks up, and an open
folder in the place of a home that is closed to others and holds Python."""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="graft-stress-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def acting_as(user: int, home: Path) -> list[str]:
    """What a command is put behind, to be this user's, who lets the group write. Skips where that is not allowed."""
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    accounts = home / "passwd"
    accounts.write_text(f"{Path('/etc/passwd').read_text()}user{user}:x:{user}:{user}::{home}:/bin/sh\n")
    python = Path(os.path.realpath(sys.base_prefix))
    closed = [str(folder) for folder in (python, *python.parents) if not folder.stat().st_mode & 1]
    where = [str(accounts), str(python), *(closed[-1:] or [""]), str(user)]
    return ["unshare", "--mount", "sh", "-c", ACT, "sh", *where]


class UsersProject:
    """A project that belongs to a user."""

    def __init__(self, folder: Path, user: int, cache: Path) -> None:
        self.project = make_project(folder / "project", tiny_params())
        self.user = user
        self.project.environment |= {
            "GRAFT_CACHE_DIR": str(cache), "PYTHONPATH": str(REPOSITORY / "src"), "HOME": str(folder),
            "DVC_SITE_CACHE_DIR": str(folder / "site"), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self._home = folder
        self._acting = acting_as(user, folder)

    def extract(self, archive: Path, **extract: object) -> str:
        """What `dvc repro extract` says of these images."""
        shutil.copy2(archive, self.project.folder / "data" / "drawings.tar")
        self.project.change(data={"path": "data/drawings.tar"}, extract=extract)
        subprocess.run(["chown", "-R", f"{self.user}:{self.user}", self._home], check=True)
        said = self.project.run(*self._acting, "dvc", "repro", "extract").stderr
        assert "Traceback" not in said
        assert "note: " not in said, said
        return said


def packed(folder: Path, name: str, per_class: int) -> Path:
    write_drawings(folder / name, per_class)
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        tar.add(folder / name, "drawings")
    return folder / f"{name}.tar"


def test_two_users_share_a_cache(open_folder: Path) -> None:
    """Whatever one has stored, the other uses, and adds to; nothing is computed twice, and nobody is in the way."""
    cache = open_folder / "cache"
    cache.mkdir()
    os.chown(cache, 0, GROUP)
    cache.chmod(0o2775)
    ann, bob = (UsersProject(open_folder / name, user, cache) for name, user in (("ann", ANN), ("bob", BOB)))
    few, more = packed(open_folder, "few", 10), packed(open_folder, "more", 12)
    first = ann.extract(few, views=0, dtype="float32")
    assert "copying into" in first
    assert "0 of 30 are in the cache" in first
    for user, archive, dtype, known in (
        (bob, few, "float32", 30), (bob, few, "float16", 0), (ann, few, "float16", 30),
        (bob, more, "float32", 30), (ann, more, "float32", 36),
    ):  # fmt: skip
        said = user.extract(archive, views=0, dtype=dtype)
        total = 30 if archive == few else 36
        assert f"{known} of {total} are in the cache" in said, said
        assert ("copying into" in said) == (user is bob and archive == more), said
    made = {path: path.stat() for path in cache.rglob("*")}
    assert {status.st_uid for status in made.values()} == {ANN, BOB}
    assert {status.st_gid for status in made.values()} == {GROUP}
    closed = [path for path, status in made.items() if status.st_mode & 0o060 != 0o060]
    assert closed == []


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A file system of this size at `folder`. Skips where the system lets nobody mount."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("free_kb", [0, 40, 400])
def test_a_full_disk_under_the_cache_costs_time_only(tmp_path: Path, free_kb: int) -> None:
    project = make_project(tmp_path / "project", tiny_params())
    project.environment["PYTHONPATH"] = str(REPOSITORY / "src")
    with small_disk(tmp_path / "cache", 1000):
        (tmp_path / "cache" / "fill").write_bytes(bytes(1000 * 2**10 - free_kb * 2**10))
        done = project.run("dvc", "repro", "extract", GRAFT_CACHE_DIR=str(tmp_path / "cache"))
    assert "Traceback" not in done.stderr
    assert "going on without" in done.stderr
    assert (project.folder / "data" / "features" / "meta.json").exists()


def test_a_disk_that_is_full_again_and_again(tmp_path: Path) -> None:
    """All that a project is and writes, on a disk that grows by a half after each failure: it ends whole."""
    undisturbed = make_project(tmp_path / "undisturbed", tiny_params())
    undisturbed.environment["PYTHONPATH"] = str(REPOSITORY / "src")
    undisturbed.run("dvc", "repro", GRAFT_CACHE_DIR=str(tmp_path / "cache"))
    kilobytes = 6000
    with small_disk(tmp_path / "disk", kilobytes):
        project = make_project(tmp_path / "disk" / "project", tiny_params())
        project.environment |= {
            "PYTHONPATH": str(REPOSITORY / "src"), "GRAFT_CACHE_DIR": str(tmp_path / "disk" / "cache"),
        }  # fmt: skip
        failures = 0
        while (done := project.run("dvc", "repro", ok=False)).returncode:
            assert "Traceback" not in done.stderr, done.stderr
            failures += 1
            kilobytes += kilobytes // 2  # DVC leaves a part of what did not fit
            assert kilobytes < 200_000, done.stderr
            command = ["mount", "-o", f"remount,size={kilobytes}k", str(tmp_path / "disk")]
            subprocess.run(command, check=True)
        assert failures > 1
        assert (project.folder / "dvc.lock").read_bytes() == (undisturbed.folder / "dvc.lock").read_bytes()
        assert {run.info.status for run in project.runs()} == {"FINISHED"}
