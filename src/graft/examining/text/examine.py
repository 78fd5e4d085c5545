"""What is wrong with a text, how long it is, and what texts that are nearly the same are found by.

Texts are compared as Broder does it (On the resemblance and containment of documents, 1997): by the share of their
runs of SHINGLE characters that two have in common (Jaccard), which MinHash estimates from a few numbers of each.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from graft.inputs.text.parts import SEPARATOR, parts

SHINGLE = 5
"""Characters of a run. A shorter text is one run."""

PERMUTATIONS = 128
"""Numbers in a signature: their share that two texts have in common is off by 0.035 where it is 0.8."""

SEED = 1
"""Of the permutations, which are the same for every text and every run."""

BATCH = 4096
"""Runs that are hashed at once: a long text would take a gigabyte otherwise."""

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Unicode's control characters, but for tab, newline and carriage return, which texts may have."""

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How a text begins that Windows calls Unicode."""

Remark = tuple[str, str]
"""reason, detail"""


@dataclass(frozen=True)
class Verdict:
    """characters, words: of a pair, those of both texts; 0 where it cannot be read. Words lie between white space.

    signature: (PERMUTATIONS,) uint32 as bytes; none where the text cannot be used. reason, detail: why it cannot be, ""
    where it can. remarks: on a text that can.
    """

    characters: int
    words: int
    signature: bytes = b""
    reason: str = ""
    detail: str = ""
    remarks: tuple[Remark, ...] = ()


def examine(examples: Sequence[bytes], pair: bool, max_characters: int) -> list[Verdict]:
    """What each example is. pair: whether each is of two texts. max_characters: of a text, more cannot be used."""
    from datasketch import MinHash

    empty = MinHash(PERMUTATIONS, seed=SEED, hashfunc=zlib.crc32)
    verdicts = []
    for data in examples:
        verdict = look(data, pair, max_characters)
        if not verdict.reason:
            signed, runs = empty.copy(), _marked(shingles(data))
            while batch := [run.encode() for run in islice(runs, BATCH)]:
                signed.update_batch(batch)
            verdict = replace(verdict, signature=signed.hashvalues.astype(np.uint32).tobytes())
        verdicts.append(verdict)
    return verdicts


def shingles(data: bytes) -> list[set[str]]:
    """The runs of SHINGLE characters of each text of an example that can be used, whatever its case and white space."""
    texts = [" ".join(text.casefold().split()) for text in parts(data)]
    return [{text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))} for text in texts]


def _marked(runs: Sequence[set[str]]) -> Iterator[str]:
    """All runs, those of a second text other than the same ones of a first.

    Where each text of a pair has a share in common with that of another pair, both together have it at least.
    """
    return (number * SEPARATOR + run for number, of_text in enumerate(runs) for run in of_text)


def look(data: bytes, pair: bool, max_characters: int) -> Verdict:
    """The verdict on one example, but for the signature."""
    try:
        texts = parts(data)
    except UnicodeDecodeError as error:
        return Verdict(0, 0, reason="not UTF-8", detail=_not_utf_8(data, error))
    characters, words = sum(map(len, texts)), sum(len(text.split()) for text in texts)
    reason, detail = "", ""
    if len(texts) != 1 + pair:
        reason = "control characters"
        detail = "U+0000 in one of the two texts" if pair else f"U+0000 at character {len(texts[0]) + 1}"
    elif blank := [number for number, text in enumerate(texts) if not text.strip()]:
        reason = "empty"
        detail = _which(blank[0], pair) + ("only white space" if texts[blank[0]] else "no character")
    elif odd := [(number, found) for number, text in enumerate(texts) for found in CONTROL.finditer(text)]:
        number, found = odd[0]
        more = f", {len(odd)} in all" if len(odd) > 1 else ""
        reason = "control characters"
        detail = f"{_which(number, pair)}U+{ord(found[0]):04X} at character {found.start() + 1}{more}"
    elif long := [(number, len(text)) for number, text in enumerate(texts) if len(text) > max_characters]:
        number, length = long[0]
        reason = "too long"
        detail = f"{_which(number, pair)}{length} characters, more than data.max_characters {max_characters}"
    marked = not reason and data.startswith(codecs.BOM_UTF8)
    remarks = (("byte order mark", "before the text, which is read without it"),) if marked else ()
    return Verdict(characters, words, b"", reason, detail, remarks)


def _which(number: int, pair: bool) -> str:
    return f"{('first', 'second')[number]} text: " if pair else ""


def _not_utf_8(data: bytes, error: UnicodeDecodeError) -> str:
    place = len(data) - len(error.object) + error.start  # a byte order mark is no part of `error.object`
    guess = "it begins like UTF-16; save it as UTF-8" if data.startswith(UTF_16) else "save it as UTF-8"
    return f"byte 0x{data[place]:02x} at {place}: {error.reason}; {guess}"
