"""The Ray cluster that works: one of this machine, or one that runs already; and Ray kept quiet."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from graft.errors import SurroundingsError, listing
from graft.runtime.cores import available
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import RayParams

OF_A_JOB = "RAY_ADDRESS"
"""Where Ray says, inside a submitted job, which cluster it runs on."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about a later version's default
}
"""Set where the user has set nothing: nothing is reported over the network, nor printed."""


def library(key: str) -> Any:
    """The package, with its part for data. key: of params.yaml, which asks for it.

    Raises SurroundingsError where it is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SurroundingsError(
            f"{key}: ray needs Ray ({error}). Install it: pip install 'graft-transfer[ray]'; or set {key}: local."
        ) from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


@contextmanager
def connected(key: str, p: RayParams) -> Iterator[int]:
    """Inside, Ray can be used; gives how many actors there shall be. One that was started here ends afterwards.

    key: of params.yaml, which asks for it.

    Raises SurroundingsError where there is no such cluster, or no machine of it is large enough.
    """
    ray = library(key)
    own = not ray.is_initialized()
    if own:
        address = p.address or os.environ.get(OF_A_JOB)
        if address is None and p.actors is None:
            p = p.model_copy(update={"actors": max(1, available() // p.cpus)})
        _connect(ray, key, p, address)
    # On a thread of its own, Ray prints on standard output what happens to each of its processes.
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing):
        try:
            machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            n_actors = _actors(p, machines)
            gpus = f" and {p.gpus:g} GPUs" if p.gpus else ""
            say(f"Ray {ray.__version__}: {n_actors} actors of {p.cpus} CPUs{gpus}; machines: {len(machines)}")
            yield n_actors
        finally:
            if own:
                ray.shutdown()


def _connect(ray: Any, key: str, p: RayParams, address: str | None) -> None:
    """address: None for a Ray of this machine's own, with `p.actors`."""
    own: dict[str, Any] = {}
    if address is None:
        # One CPU beyond those of the actors, so that nothing that Ray does beside them has to wait.
        own = {"num_cpus": (p.actors or 1) * p.cpus + 1, "include_dashboard": False}
    try:
        with _nothing_printed():
            ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        if address is None:
            raise SurroundingsError(
                f"{key}: Ray must be able to start on this machine. Got: {reason}. Set {key}: local."
            ) from None
        raise SurroundingsError(
            f"ray.address: must be the address of a Ray cluster that this machine belongs to, with the same versions "
            f"of Ray and Python, and the token that it asks for. Got {address!r}: {reason}. Start it "
            "(`ray start --head`), set RAY_AUTH_MODE=token, or leave it empty for a Ray of this machine's own."
        ) from None


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """Ray's C++ part reports its settings on standard error; a failure is an exception all the same."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _actors(p: RayParams, machines: list[dict[str, float]]) -> int:
    """How many actors there shall be; those that do not fit yet start when a machine is added or gets free."""
    fitting = sum(_fitting(p, machine) for machine in machines)
    if not fitting:
        sizes = [f"{one.get('CPU', 0):g} CPUs and {one.get('GPU', 0):g} GPUs" for one in machines]
        raise SurroundingsError(
            f"ray: an actor of {p.cpus} CPUs and {p.gpus:g} GPUs must fit on a machine of the Ray cluster. "
            f"Got machines with {listing(sizes, 5) or 'nothing'}. Lower ray.cpus or ray.gpus, or add a machine."
        )
    if p.actors is not None and p.actors > fitting:
        say(
            f"note: of {p.actors} actors (ray.actors), {fitting} fit on the Ray cluster as it is; the others "
            "start when machines are added"
        )
    return p.actors or fitting


def on_processors(p: RayParams) -> RayParams:
    """The same for work that no GPU does."""
    return p.model_copy(update={"gpus": 0.0})


def _fitting(p: RayParams, machine: dict[str, float]) -> int:
    by_cpu = int(machine.get("CPU", 0) / p.cpus)
    return min(by_cpu, int(machine.get("GPU", 0) / p.gpus)) if p.gpus else by_cpu
