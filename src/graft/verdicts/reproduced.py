"""How a result stands to the one that was expected of it."""

from __future__ import annotations

from graft.verdicts.words import Reproduced

ROUNDING = 1e-9
"""Of the difference of two float64 that are equal as written."""


def judge(expected: float, got: float, tolerance: float, seed_noise: float | None, same_bytes: bool) -> Reproduced:
    """tolerance, seed_noise: the largest differences that they allow, in the unit of both; seed_noise is None where it
    is not known. same_bytes: whether the models are equal to the byte, and so are their results.
    """
    off = abs(got - expected)
    if same_bytes:
        return Reproduced.BIT_IDENTICAL
    if off <= tolerance + ROUNDING:
        return Reproduced.WITHIN_TOLERANCE
    if seed_noise is not None and off <= seed_noise + ROUNDING:
        return Reproduced.WITHIN_SEED_NOISE
    return Reproduced.OUTSIDE
