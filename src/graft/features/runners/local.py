"""In this process, on all of its cores."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from graft.features import compute

if TYPE_CHECKING:
    from graft.features.runners.base import Job


def run(job: Job) -> Generator[compute.Results]:
    """In the order of the tasks. Raises what `compute.computed` raises."""
    yield from compute.computed(job.plan.spec, job.wanted, job.tasks, job.read, job.loaded)
