"""DVC's remote, how it links, and the folders that hold features: what a team shares, and what it costs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from graft.doctor.finding import Finding, Project, broken, mended_by, ok, warning
from graft.errors import listing
from graft.features import cache as features
from graft.pipeline import layout
from graft.runtime import cache, mounts

if TYPE_CHECKING:
    from dvc.repo import Repo

LINKS = ("reflink", "hardlink", "symlink")
"""Those that take no space of their own, in the order in which they are good."""

MUCH = 1e9
"""Bytes from which it is worth telling that they lie twice."""


def dvc(project: Project) -> Iterator[Finding]:
    """The remote, then links and room; one finding where there is no DVC."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(project.root)) as repo:
            yield _remote(repo)
            arrays = _bytes(_arrays(project.root))
            yield _links(repo, arrays)
            yield _room(repo, arrays)
    except NotDvcRepoError:
        yield broken(
            "DVC", "no .dvc folder: `dvc repro` cannot run", "`dvc init` (`dvc init --subdir` below git's root)."
        )
    except DvcException as error:
        yield broken("DVC", f"cannot read the project. Got: {error}", "Mend what it names; `dvc status` says it again.")


def _remote(repo: Repo) -> Finding:
    named = repo.config["core"].get("remote")
    if not named:
        return warning(
            "DVC remote",
            "none: what runs made is on this disk alone",
            "`dvc remote add -d team <folder, s3://, gs://, ssh://>`, then `dvc push` (docs/sharing.md).",
        )
    url = str(repo.config["remote"].get(named, {}).get("url", ""))
    place = Path(url)
    if "://" not in url and not place.is_dir():
        return broken("DVC remote", f"{named}: there is no folder {url}", "Make or mount it, or `dvc remote modify`.")
    if "://" not in url and not os.access(place, os.W_OK):
        return warning(
            "DVC remote", f"{named}: {url} may not be written here", "`dvc pull` works; `dvc push` needs rights."
        )
    return ok("DVC remote", f"{named}{': ' + url if '://' not in url else ''}")


def _links(repo: Repo, arrays: int) -> Finding:
    """The first of `cache.type` that works between DVC's cache and the project. arrays: bytes of them here."""
    from dvc_objects.fs.generic import test_links

    Path(repo.cache.local.path).mkdir(parents=True, exist_ok=True)
    works = test_links(list(LINKS), repo.cache.local.fs, repo.cache.local.path, repo.fs, repo.root_dir)
    asked = list(repo.config["cache"].get("type") or ("reflink", "copy"))
    used = next((one for one in asked if one in works), "copy")
    said = f"cache.type {','.join(asked)}: files are {'copied' if used == 'copy' else used + 's'}"
    if used == "copy" and arrays > MUCH and "hardlink" in works:
        return warning(
            "DVC links",
            f"{said}, and {arrays / 1e9:.1f} GB of arrays lie twice",
            "`dvc config cache.type hardlink,symlink`, then `dvc checkout --relink` (docs/sharing.md).",
        )
    return ok("DVC links", said)


def _arrays(root: Path) -> list[Path]:
    paths = layout.read()
    return [root / paths.features, root / paths.activations]


def _room(repo: Repo, arrays: int) -> Finding:
    """Features lie in three places: each says what it has."""
    held = sum(one.n_bytes for one in features.held())
    kept = _bytes([Path(repo.cache.local.path)])
    return ok(
        "room",
        f"graft's cache {held / 1e6:,.0f} MB of features (limit {features.limit_bytes() / 1e9:g} GB), the project "
        f"{arrays / 1e6:,.0f} MB of features and activations, DVC's cache {kept / 1e6:,.0f} MB in all",
    )


def _bytes(folders: Iterable[Path]) -> int:
    """On disk, of all files below; one that is linked into several of these folders counts in each."""
    found = 0
    for folder in folders:
        for where, _, names in os.walk(folder):
            for name in names:
                try:
                    found += (Path(where) / name).stat().st_size
                except OSError:  # gone meanwhile, or a link to nothing
                    continue
    return found


SHARED = stat.S_IWGRP


def rights(project: Project) -> Iterator[Finding]:
    """Whether graft's cache can be written, and by those who share it."""
    place = cache.place()
    if not place.exists():
        yield ok("graft's cache", f"{place} is made when it is needed")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield warning(
            "graft's cache",
            f"{place} may be read only: what is computed here is not kept",
            "Ask its owner for write rights, or set GRAFT_CACHE_DIR to a folder of your own.",
        )
        return
    if (kind := mounts.kind_of(place)) in mounts.NETWORK:
        yield warning(
            "graft's cache",
            f"{place} lies on {kind}, where nothing is kept: LMDB damages what two machines write",
            "Set GRAFT_CACHE_DIR to a folder on a local disk; to share features, GRAFT_CACHE_REMOTE to this one.",
        )
        return
    closed = [one for one in _folders(place) if one.stat().st_uid == os.getuid() and not one.stat().st_mode & SHARED]
    if place.stat().st_mode & SHARED and closed:
        yield mended_by(
            warning(
                "graft's cache",
                f"{place} is shared with a group, which may not write {listing(closed, 3)}, which are yours",
                f"`chmod -R g+w {place}`, and `umask 002` where you run graft.",
            ),
            lambda: _share(closed),
        )
    else:
        yield ok("graft's cache", f"{place}, can be written")


def _folders(place: Path) -> list[Path]:
    return [Path(where) for where, _, _ in os.walk(place)]


def _share(folders: list[Path]) -> str:
    for folder in folders:
        for one in (folder, *(path for path in folder.iterdir() if cache.regular(path))):
            if one.stat().st_uid == os.getuid():
                one.chmod(one.stat().st_mode | SHARED)
    return f"the group may write {len(folders)} folders of the cache now"
