"""In this process, on all of its cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graft.models import solved

if TYPE_CHECKING:
    from graft.config.schema import RayParams
    from graft.models.runners.base import Job
    from graft.models.solved import Runners


@contextmanager
def on(job: Job, cluster: RayParams) -> Iterator[Runners]:
    """Without the cluster."""
    yield solved.here
