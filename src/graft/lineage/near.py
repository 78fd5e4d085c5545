"""Near copies of some bytes among the examples that models saw, by the same rules by which `prepare` finds copies.

Those of an example that is neither known to graft's cache nor among the data here cannot be found: what an image
looks like stands in no run. It is said how many there were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import DataError, StaleError
from graft.examining.image import examine as images
from graft.examining.text import examine as texts
from graft.examples.checks import near_images, near_texts
from graft.examples.checks.examined import Looks
from graft.examples.checks.kinds import KINDS
from graft.examples.checks.runners import local
from graft.examples.checks.verdict_cache import VerdictCache
from graft.examples.sources import SOURCES
from graft.inputs.text.parts import SEPARATOR

if TYPE_CHECKING:
    from graft.config.data import DataParams

OURS = "the file that is asked about"


@dataclass(frozen=True)
class Near:
    """sha256s: of near and identical copies. compared: with how many examples.

    unusable: why it was compared with none; "" otherwise.
    """

    sha256s: Collection[str]
    compared: int
    unusable: str = ""


def copies(content: bytes, known: Collection[str], data: DataParams) -> Near:
    """content: the bytes of an example of `data.kind`. known: the sha256s that it is compared with."""
    return FINDERS[data.kind](content, sorted(set(known)), data)


def _images(content: bytes, known: list[str], data: DataParams) -> Near:
    verdict = images.examine(content, data.max_pixels)
    if not verdict.perceptual_hash:
        return Near((), 0, verdict.reason or "a picture without structure")
    cached = VerdictCache().by_content(known, data.max_pixels)
    looks = {sha256: found for sha256, found in zip(known, cached, strict=True) if found is not None}
    if len(looks) < len(known):
        looks |= {sha256: found for sha256, (_, found) in _here(data).items() if sha256 in set(known)}
    looks = {sha256: found for sha256, found in looks.items() if found.perceptual_hash}
    compared = Looks.of(map(near_images.look, [verdict, *looks.values()]))
    numbers = near_images.groups([OURS, *looks], compared, data.duplicates.near_distance)
    return _found(numbers, looks)


def _texts(content: bytes, known: list[str], data: DataParams) -> Near:
    """Raises SurroundingsError where a library for texts is missing."""
    wanted = set(known)
    here = _here(data)
    looks = {sha256: found for sha256, found in here.items() if sha256 in wanted and found[1].signature}
    if not looks:
        return Near((), 0)
    (verdict,) = texts.examine([content], SEPARATOR.encode() in content, data.max_characters)
    if not verdict.signature:
        return Near((), 0, verdict.reason)
    reader = SOURCES[data.source].open(Path(data.path))
    paths = [path for path, _ in looks.values()]
    numbers = near_texts.groups(
        [OURS, *looks],
        Looks.of(map(near_texts.look, [verdict, *(found for _, found in looks.values())])),
        data.duplicates.near_similarity,
        lambda number: reader.read(paths[number - 1]) if number else content,
    )
    return _found(numbers, looks)


def _here(data: DataParams) -> dict[str, tuple[str, Any]]:
    """sha256 -> path and verdict of each example of data.path; none where it is not here."""
    try:
        paths = [item.path for item in SOURCES[data.source].scan(data) if item.problem is None]
        examined = dict(KINDS[data.kind].examine(data, paths, local.run))
    except (DataError, StaleError, OSError):
        return {}
    found = ((path, examined[number]) for number, path in enumerate(paths))
    return {one.sha256: (path, one.verdict) for path, one in found if one.verdict}


def _found(numbers: Any, looks: Mapping[str, Any]) -> Near:
    same = [sha256 for sha256, number in zip(looks, numbers[1:], strict=True) if number == numbers[0]]
    return Near(same, len(looks))


FINDERS: dict[str, Callable[[bytes, list[str], DataParams], Near]] = {"image": _images, "text": _texts}
"""data.kind -> how near copies are found. To add a kind, add a row."""
