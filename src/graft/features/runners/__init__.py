"""Where features are computed: `extract.runner` of params.yaml. To add a runner, add a module with its `run` and a row.

A runner changes no value, only where it comes from and how long it takes: none is named in a key or in `meta.json`.

base      what a runner is given
local     this process, on all of its cores
ray       processes of a Ray cluster (`graft.cluster`)
worker    what such a process does
"""

from __future__ import annotations

import os

from graft.features.runners import local, ray, worker
from graft.features.runners.base import Runner

RUNNERS: dict[str, Runner] = {
    "local": local.run,
    "ray": ray.run,
}


def begin(name: str) -> None:
    """Before a network is built in this process, which may share a GPU with those of the runner."""
    if name != "local":
        os.environ |= worker.SHARED_GPU
