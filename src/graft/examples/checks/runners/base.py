"""What a runner is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from graft.examining.image.examine import Verdict
from graft.examples.checks.examined import Examined
from graft.examples.sources.base import Reader


@dataclass(frozen=True)
class Job:
    """What is to be examined.

    source, root: of the reader that another process opens; reader: the one of this process.
    """

    source: str
    root: Path
    reader: Reader
    paths: Sequence[str]
    max_pixels: int


Some = list[tuple[int, Examined[Verdict]]]
"""Numbers of some of the paths, from 0, and what each of these is."""

Runner = Callable[[Job], Generator[Some]]
"""What each path of a job is, once, in any order. Raises SurroundingsError where there is nothing to work on. Closed,
it lets go of what it works on."""
