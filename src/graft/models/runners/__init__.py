"""Where a head is solved: `train.runner` of params.yaml. To add a runner, add a module with its `on` and a row.

base     what a runner is given
local    this process, on all of its cores
ray      processes of a Ray cluster (`graft.cluster`)
worker   what such a process does
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from graft.models.runners import local, ray
from graft.models.runners.base import Job

if TYPE_CHECKING:
    from graft.config.schema import RayParams
    from graft.models.solved import Runners

RUNNERS: dict[str, Callable[[Job, RayParams], AbstractContextManager[Runners]]] = {
    "local": local.on,
    "ray": ray.on,
}
"""train.runner -> around what solves; it works on the blocks. Of `ray` of params.yaml."""
