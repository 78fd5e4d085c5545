"""How many processor cores this process may use."""

from __future__ import annotations


def available() -> int:
    """At least 1: what the machine has, the process's affinity allows and the container's (cgroup's) quota pays for.

    `os.cpu_count` knows the machine alone: in a container with 2 of 64 cores, 64 threads would wait for each other.
    """
    import joblib

    return int(joblib.cpu_count())
