"""The words in which graft says how two results stand to each other. There are no others."""

from __future__ import annotations

from enum import StrEnum

NOT_COMPARABLE = "not comparable"
"""Both vocabularies have it: nothing was judged that could be laid side by side."""

EXIT_CODE_NOT_COMPARABLE = 2
"""What a command exits with then; 1 is an error's."""


class Reproduced(StrEnum):
    """How a result stands to the one that was expected. Each word is tried in this order; the first that holds, holds.

    BIT_IDENTICAL: the same bytes. WITHIN_TOLERANCE: closer than the claim's own tolerance. WITHIN_SEED_NOISE: further,
    but no further than other seeds of the same recipe lie apart. OUTSIDE: further than that, of a claim; DIFFERENT: the
    same of what a stage wrote, where no tolerance is for other bytes, too.
    """

    BIT_IDENTICAL = "bit-identical"
    WITHIN_TOLERANCE = "within tolerance"
    WITHIN_SEED_NOISE = "within seed noise"
    OUTSIDE = "outside"
    DIFFERENT = "different"
    NOT_COMPARABLE = NOT_COMPARABLE


class Compared(StrEnum):
    """How a model stands to another one, on the same images.

    WITHIN_NOISE: the images at hand cannot tell them apart. It does not say that they are equally good.
    """

    BETTER = "better"
    WORSE = "worse"
    WITHIN_NOISE = "within noise"
    NOT_COMPARABLE = NOT_COMPARABLE
