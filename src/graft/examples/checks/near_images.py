"""Images that are copies: the same bytes, or perceptual hashes that differ in a few bits of 256 and the same colours.

A hash is of luminance alone, and of its pattern: a shirt photographed in red and in blue, in white and in grey, has
one. Two such pictures are no copies, whatever their labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from graft.examples.checks import joining
from graft.examples.checks.examined import Looks

if TYPE_CHECKING:
    from graft.examining.image.examine import Verdict

BITS = 256
"""Of a hash."""

LEAST_BANDS = 8
"""Into which a hash is cut, so that none has more than 32 bits."""

LIGHTER, COLOURED = 48, 12
"""Levels, of 255, by which no place of a copy is lighter or darker, and by which none has another Cb, Cr.

Of 300 product photos no copy saved as JPEG of quality 20, made smaller, 10 % brighter or 5 % warmer went beyond 23 and
11; with the middle in another full colour, 99 of 100 went beyond 14 in Cb, Cr.
"""


def look(verdict: Verdict) -> bytes:
    """What an image is compared by: its perceptual hash and its colours, or nothing."""
    return verdict.perceptual_hash + verdict.colours


def groups(sha256s: Iterable[str], looks: Looks, distance: int) -> np.ndarray:
    """(n,) int64: images with the same number are copies of one, directly or through others.

    looks: as `look` gives them. distance: bits.
    """

    def pairs(chosen: np.ndarray) -> np.ndarray:
        return _near(looks.values, chosen, distance)

    return joining.groups(sha256s, looks.rows, pairs)


def _near(looks: np.ndarray, chosen: np.ndarray, distance: int) -> np.ndarray:
    """(m, 2) places among the chosen rows that join all whose hashes are at most `distance` bits apart, and whose
    colours are the same. looks: (n, bytes), of which few are looked at beyond the hashes.
    """
    words = looks[chosen, : BITS // 8].view(np.uint64)
    colours = looks[:, BITS // 8 :].reshape(len(looks), -1, 3)

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        close = np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= distance
        close[close] = _same_colours(colours[chosen[left[close]]], colours[chosen[right[close]]])
        return np.asarray(close)

    return joining.near(len(words), _keys(words.view(np.uint8).reshape(len(words), -1), distance), alike)


def _keys(hashes: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """(n,) uint64 each, of which two hashes have one in common where they differ in `distance` bits or fewer.

    Hashes are cut into two bands more than bits may differ, so that two of them agree; a key is two bands. One band
    would do, but small pictures have few details, and many have the same 16 bits: among 100,000 of 28 x 28 pixels, 28
    million pairs, a hundred times as many among a million. hashes: (n, 32) uint8.
    """
    n_bands = max(LEAST_BANDS, distance + 2)
    ends = [band * BITS // n_bands for band in range(n_bands + 1)]
    bands = [_bits(hashes, start, end).astype(np.uint32) for start, end in itertools.pairwise(ends)]
    for first, second in itertools.combinations(bands, 2):
        yield first.astype(np.uint64) << np.uint64(32) | second


def _bits(hashes: np.ndarray, start: int, end: int) -> np.ndarray:
    """(n,) uint64: the number that the bits from `start` up to `end`, at most 32, are."""
    value = np.zeros(len(hashes), np.uint64)
    last_byte = -(-end // 8)
    for byte in range(start // 8, last_byte):
        value = value << np.uint64(8) | hashes[:, byte]
    return value >> np.uint64(8 * last_byte - end) & np.uint64(2 ** (end - start) - 1)


def _same_colours(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n,) bool of pairs of pictures, (n, places, 3) uint8 YCbCr."""
    apart = left.astype(np.int32) - right
    alike = (abs(apart[..., 0]) <= LIGHTER) & ((apart[..., 1:] ** 2).sum(axis=-1) <= COLOURED**2)
    return np.asarray(alike.all(axis=-1))
