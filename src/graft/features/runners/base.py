"""What a runner is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft.features.compute import Results
from graft.inputs.batches import Read

if TYPE_CHECKING:
    from graft.backbones.build import Loaded
    from graft.config.schema import RayParams
    from graft.features.plan import Plan
    from graft.features.tasks import Tasks


@dataclass(frozen=True)
class Job:
    """What is to be computed.

    wanted: outputs of the plan. tasks: examples of which exactly these are not known. read: reads examples in this
    process. open_reader: gives what reads them in another one; it can be pickled. loaded: the network, as built in
    this process. cluster: `ray` of params.yaml.
    """

    plan: Plan
    wanted: Sequence[str]
    tasks: Tasks
    read: Read
    open_reader: Callable[[], Read]
    loaded: Loaded
    cluster: RayParams


Runner = Callable[[Job], Generator[Results]]
"""The results of every view of a job's tasks, each once, in any order. Raises what `compute.computed` raises, and
SurroundingsError where it has nothing to compute on. Closed, it lets go of what it computes on."""
