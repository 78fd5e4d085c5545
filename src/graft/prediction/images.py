"""Images that the user named: content says what a file is, and standard input may name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from graft.inputs.image.formats import SUFFIXES, starts_like_one
from graft.inputs.spec import UndecodableError
from graft.prediction.files import HEAD_BYTES, STDIN, Kind, Named, below

MOST_BYTES = 2**29


def kind() -> Kind:
    return Kind(_require_start, MOST_BYTES, SUFFIXES, lambda path: None, _on_stdin, _table)


def _table(path: Path) -> Iterator[Named] | None:
    return None


def _require_start(head: bytes) -> None:
    if not head:
        raise UndecodableError("empty file", "0 bytes")
    if not starts_like_one(head):
        raise UndecodableError("not an image", "of no format that is read")


def _on_stdin(stdin: IO[bytes], kind: Kind) -> Iterator[Named]:
    """Paths, one a line or each followed by a zero byte, or the bytes of one image."""
    head = stdin.read(HEAD_BYTES)
    if starts_like_one(head):
        data = head + stdin.read()
        yield Named(STDIN, lambda: data)
        return
    for text in _texts(head, stdin):
        if text:
            yield from below(os.fsdecode(text), kind)


def _texts(head: bytes, stdin: IO[bytes]) -> Iterator[bytes]:
    """What is between line ends, or between zero bytes where there is one in the first line."""
    rest = head + stdin.readline()
    end = b"\0" if b"\0" in rest else b"\n"
    while True:
        *whole, rest = rest.split(end)
        yield from (text.removesuffix(b"\r") if end == b"\n" else text for text in whole)
        more = stdin.read(2**16)
        if not more:
            break
        rest += more
    yield rest.removesuffix(b"\r") if end == b"\n" else rest
