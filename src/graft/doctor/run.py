"""All checks, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graft.config.load import load
from graft.doctor import environment, runs, sharing, sources
from graft.doctor.finding import Check, Finding, Project, broken
from graft.errors import GraftError

CHECKS: tuple[Check, ...] = (
    environment.versions,
    environment.processor,
    environment.variables,
    environment.accelerator,
    environment.disks,
    sources.params,
    sources.data,
    sources.weights,
    sources.repository,
    sources.kept,
    sharing.dvc,
    sharing.rights,
    runs.tracking,
)


def project(root: Path) -> Project:
    try:
        return Project(root, load())
    except GraftError:  # `sources.params` says so
        return Project(root, None)


def examine(project: Project) -> Iterator[Finding]:
    """Every finding; a check that cannot be made is one, too."""
    for check in CHECKS:
        try:
            yield from check(project)
        except (GraftError, OSError) as error:
            yield broken(check.__name__, f"cannot be looked at. Got: {error}", "Mend what it names.")
