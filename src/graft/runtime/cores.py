"""How many processors this process may use."""

from __future__ import annotations


def available() -> int:
    """At least 1: what the affinity and the control group's quota leave of the machine's processors."""
    import joblib

    return int(joblib.cpu_count())
