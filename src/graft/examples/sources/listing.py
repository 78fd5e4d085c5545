"""A listing: what lies at an address, as a file that DVC can hash. `graft data list` writes it, sources read it.

JSON Lines: the first line says of which address, each other one a file's path below it, its size and its mark, which
changes when the file does (the ETag, or what a storage has in its place). Sorted, so that the same files give the same
bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graft.errors import DataError
from graft.examples.sources.base import plain

SUFFIX = ".listing"
VERSION = 1


@dataclass(frozen=True)
class File:
    """size: in bytes, None where the server does not tell. mark: "" where there is none."""

    size: int | None
    mark: str


@dataclass(frozen=True)
class Listing:
    """root: the address above all files, without a slash at its end. asked: what was listed, if that is not all below
    root: a pattern, a table. files: path below root -> what is there.
    """

    root: str
    asked: str
    files: Mapping[str, File]

    def to_bytes(self) -> bytes:
        head = {"listing": VERSION, "root": self.root, "asked": self.asked}
        rows = [
            {"path": path, "size": file.size, "mark": file.mark}
            for path, file in sorted(self.files.items(), key=lambda item: item[0].split("/"))
        ]
        return "".join(json.dumps(one, ensure_ascii=True) + "\n" for one in (head, *rows)).encode()


def is_one(path: Path) -> bool:
    """Whether a path is called as listings are."""
    return path.suffix == SUFFIX


def read(path: Path) -> Listing:
    """Raises DataError for what is no whole listing."""
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            head = json.loads(next(lines))
            if head["listing"] != VERSION:
                raise ValueError(f"version {head['listing']}, which this graft does not know")
            files = {}
            for line in lines:
                number += 1
                row = json.loads(line)
                files[row["path"]] = File(row["size"], row["mark"])
            return Listing(head["root"], head["asked"], files)
    except (StopIteration, ValueError, KeyError, TypeError, OSError) as error:
        got = f"{type(error).__name__}: {error}" if str(error) else "nothing"
        raise DataError(
            f"data.path: {plain(str(path))} must be a listing that `graft data list ADDRESS` wrote. Line {number + 1} "
            f"is not one's: {got}. Write it again."
        ) from None
