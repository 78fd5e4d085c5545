"""Where images are examined: `data.runner` of params.yaml. To add a runner, add a module with its `on` and a row.

base     what a runner is given
local    this machine, on all of its cores
ray      processes of a Ray cluster (`graft.cluster`)
worker   what such a process does
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graft.examples.checks.runners import local, ray
from graft.examples.checks.runners.base import Runner

if TYPE_CHECKING:
    from graft.config.schema import RayParams

RUNNERS: dict[str, Callable[[RayParams], Runner]] = {
    "local": local.on,
    "ray": ray.on,
}
"""data.runner -> what examines, given `ray` of params.yaml."""
