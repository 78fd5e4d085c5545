"""What the user named, file by file: each is found once, and read when its turn has come."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from graft.errors import DataError
from graft.examples.sources.base import IGNORED, plain
from graft.examples.sources.tree import LINKED, PACKED, Directory, Entry, open_tree
from graft.inputs.image.formats import starts_like_one
from graft.inputs.spec import UndecodableError

STDIN = "-"

HEAD_BYTES = 32
"""From which it is told whether a file may be an image; of others no more is read."""

MOST_BYTES = 2**29
"""Of a file that is read into memory."""

NOT_FOLLOWED = "link to a directory: it is not followed; name the directory itself"


@dataclass(frozen=True)
class Named:
    """A file. path: as it is shown. read: its bytes; raises OSError, and UndecodableError where it is no image.

    problem: why it is not read, "" where it is. meant: whether it may have been meant to be an image.
    """

    path: str
    read: Callable[[], bytes]
    problem: str = ""
    meant: bool = True


def found(names: Sequence[str], stdin: IO[bytes] | None = None) -> Iterator[Named]:
    """Every file that is named, or lies below a folder or in an archive that is; `-` stands for `stdin`.

    Folders are walked in the order of names. On `stdin` there are paths, one a line or each followed by a zero byte,
    or the bytes of one image.
    """
    for name in names:
        yield from _on_stdin(stdin or sys.stdin.buffer) if name == STDIN else _below(name)


def count(names: Sequence[str]) -> int | None:
    """How many files `found` gives; None where only reading them to their end would tell."""
    if STDIN in names:
        return None
    return sum(_count(Path(name)) for name in names)


def _count(path: Path) -> int:
    if path.is_dir():
        return sum(1 for _ in Directory(path).walk())
    if _is_archive(path):
        try:
            return len(open_tree(path).entries())
        except DataError:
            return 1
    return 1


def _is_archive(path: Path) -> bool:
    return PACKED.search(path.name) is not None and path.is_file()


def _below(name: str) -> Iterator[Named]:
    path = Path(name)
    if path.is_dir():
        for entry in Directory(path).walk():
            inside = path / entry.path
            yield _entry(str(inside), entry, lambda inside=inside: read(inside))  # type: ignore[misc]
    elif _is_archive(path):
        yield from _inside(path)
    else:
        yield Named(plain(name), lambda: read(path))


def _inside(archive: Path) -> Iterator[Named]:
    try:
        tree = open_tree(archive)
    except DataError as error:
        yield Named(plain(str(archive)), bytes, str(error).removeprefix("data.path: "))
        return

    def member(path: str) -> bytes:
        data = tree.read(path)
        _require_start(data[:HEAD_BYTES])
        return data

    for entry in tree.entries():
        yield _entry(f"{archive}/{entry.path}", entry, lambda path=entry.path: member(path))  # type: ignore[misc]


def _entry(path: str, entry: Entry, read: Callable[[], bytes]) -> Named:
    against = entry.problem
    if against is None:
        return Named(plain(path), read)
    reason = NOT_FOLLOWED if against == LINKED else ": ".join(filter(None, (against.reason, against.detail)))
    return Named(plain(path), bytes, reason, against.state != IGNORED)


def read(path: Path) -> bytes:
    """A file that begins like an image. Raises UndecodableError where it does not, OSError."""
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UndecodableError("not a regular file", "a pipe, socket or device")
        head = file.read(HEAD_BYTES)
        _require_start(head)
        if status.st_size > MOST_BYTES:
            raise UndecodableError("too large", f"more than {MOST_BYTES // 2**20} MB")
        return head + file.read()


def _without_waiting(path: str, flags: int) -> int:
    """A pipe nobody writes to would be waited for at its opening."""
    return os.open(path, flags | os.O_NONBLOCK)


def _require_start(head: bytes) -> None:
    if not head:
        raise UndecodableError("empty file", "0 bytes")
    if not starts_like_one(head):
        raise UndecodableError("not an image", "of no format that is read")


def _on_stdin(stdin: IO[bytes]) -> Iterator[Named]:
    head = stdin.read(HEAD_BYTES)
    if starts_like_one(head):
        data = head + stdin.read()
        yield Named(STDIN, lambda: data)
        return
    for text in _texts(head, stdin):
        if text:
            yield from _below(os.fsdecode(text))


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
