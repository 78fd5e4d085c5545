"""How many processor cores this process may use."""

from __future__ import annotations

import os

from graft.errors import SurroundingsError

VARIABLE = "GRAFT_THREADS"
"""The user's own number. It changes no result, only how long it takes."""


def available() -> int:
    """GRAFT_THREADS; or what the machine has, the process's affinity allows and the container's quota pays for.

    `os.cpu_count` knows the machine alone: in a container with 2 of 64 cores, 64 threads would wait for each other.
    Raises SurroundingsError where GRAFT_THREADS is no number from 1 on.
    """
    given = os.environ.get(VARIABLE)
    if given is None:
        import joblib

        return int(joblib.cpu_count())
    if not given.isdecimal() or int(given) < 1:
        raise SurroundingsError(f"{VARIABLE}: must be a number of threads, 1 or more, or unset. Got {given!r}.")
    return int(given)
