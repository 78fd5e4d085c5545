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
from graft.examples.sources import listing
from graft.examples.sources.base import IGNORED, Problem, plain
from graft.examples.sources.entry import Entry
from graft.examples.sources.tree import LINKED, PACKED, Directory, open_tree
from graft.inputs.spec import UndecodableError

STDIN = "-"

HEAD_BYTES = 32
"""From which it is told whether a file may be an example; of others no more is read."""

NOT_FOLLOWED = "link to a directory: it is not followed; name the directory itself"


@dataclass(frozen=True)
class Named:
    """An example in a file. path: as it is shown. read: its bytes; raises OSError, and UndecodableError where it is
    none.

    problem: why it is not read, "" where it is. meant: whether it may have been meant to be an example.
    """

    path: str
    read: Callable[[], bytes]
    problem: str = ""
    meant: bool = True


@dataclass(frozen=True)
class Kind:
    """How examples of a kind are found.

    require_start(head): raises UndecodableError where no example begins with these bytes, HEAD_BYTES of a file.
    most_bytes: of a file that is read into memory. suffixes: of what is looked for in an archive, None where names tell
    nothing. against(path): what the name of a file in a folder says against it, None where names tell nothing.
    on_stdin: what is on standard input, of which it may read more. table(path): the examples in a file that is a table
    of them, None for any other file.
    """

    require_start: Callable[[bytes], None]
    most_bytes: int
    suffixes: tuple[str, ...]
    against: Callable[[str], Problem | None]
    on_stdin: Callable[[IO[bytes], Kind], Iterator[Named]]
    table: Callable[[Path], Iterator[Named] | None]


def found(names: Sequence[str], kind: Kind, stdin: IO[bytes] | None = None) -> Iterator[Named]:
    """Every example that is named, or lies below a folder or in an archive that is; `-` stands for `stdin`.

    Folders are walked in the order of names. What may be on `stdin`, its kind says.
    """
    for name in names:
        yield from kind.on_stdin(stdin or sys.stdin.buffer, kind) if name == STDIN else below(name, kind)


def count(names: Sequence[str], kind: Kind) -> int | None:
    """How many examples `found` gives; None where only reading them to their end would tell."""
    if STDIN in names or any(kind.table(Path(name)) is not None for name in names):
        return None
    return sum(_count(Path(name), kind) for name in names)


def _count(path: Path, kind: Kind) -> int:
    if path.is_dir():
        return sum(1 for _ in Directory(path).walk())
    if _is_archive(path):
        try:
            return len(open_tree(path, kind.suffixes).entries())
        except DataError:
            return 1
    return 1


def _is_archive(path: Path) -> bool:
    return (PACKED.search(path.name) is not None or listing.is_one(path)) and path.is_file()


def below(name: str, kind: Kind) -> Iterator[Named]:
    """The examples of one name. A file's name says nothing where it is named itself."""
    path = Path(name)
    if path.is_dir():
        for entry in Directory(path).walk():
            inside = path / entry.path
            yield _entry(str(inside), entry, kind, lambda inside=inside: read(inside, kind))  # type: ignore[misc]
    elif _is_archive(path):
        yield from _inside(path, kind)
    elif (rows := kind.table(path)) is not None:
        yield from rows
    else:
        yield Named(plain(name), lambda: read(path, kind))


def _inside(archive: Path, kind: Kind) -> Iterator[Named]:
    try:
        tree = open_tree(archive, kind.suffixes)
    except DataError as error:
        yield Named(plain(str(archive)), bytes, str(error).removeprefix("data.path: "))
        return

    def member(path: str) -> bytes:
        data = tree.read(path)
        kind.require_start(data[:HEAD_BYTES])
        return data

    for entry in tree.entries():
        yield _entry(f"{archive}/{entry.path}", entry, kind, lambda path=entry.path: member(path))  # type: ignore[misc]


def _entry(path: str, entry: Entry, kind: Kind, read: Callable[[], bytes]) -> Named:
    against = entry.problem or kind.against(entry.path)
    if against is None:
        return Named(plain(path), read)
    reason = NOT_FOLLOWED if against == LINKED else ": ".join(filter(None, (against.reason, against.detail)))
    return Named(plain(path), bytes, reason, against.state != IGNORED)


def read(path: Path, kind: Kind) -> bytes:
    """A file that begins like an example. Raises UndecodableError where it does not, OSError."""
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UndecodableError("not a regular file", "a pipe, socket or device")
        head = file.read(HEAD_BYTES)
        kind.require_start(head)
        if status.st_size > kind.most_bytes:
            raise UndecodableError("too large", f"{status.st_size} bytes, more than {kind.most_bytes}")
        return head + file.read()


def _without_waiting(path: str, flags: int) -> int:
    """A pipe nobody writes to would be waited for at its opening."""
    return os.open(path, flags | os.O_NONBLOCK)
