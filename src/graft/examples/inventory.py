"""What lies at an address, asked for once, before a pass: `graft data list`.

A bucket lists itself. The web does not: there a table names the files, or a pattern such as `train-{0000..0012}.tar`
does, and each is asked for its size and ETag.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from graft.errors import DataError, listing
from graft.examples.sources import manifest, tables
from graft.examples.sources.listing import File, Listing
from graft.examples.sources.tables.columns import rows_of
from graft.runtime.reading import marks, patience, storage

if TYPE_CHECKING:
    from graft.config.data import DataParams

T = TypeVar("T")
R = TypeVar("R")

BRACES = re.compile(r"\{([^{}/]+)\}")
ALONE = (".parquet", ".tar")
"""Files that hold examples themselves."""


@dataclass(frozen=True)
class Changes:
    """Paths that differ between two listings, in their order."""

    added: list[str]
    gone: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.gone or self.changed)


def changes(before: Listing, now: Listing) -> Changes:
    both = [path for path in now.files if path in before.files]
    return Changes(
        sorted(set(now.files) - set(before.files)),
        sorted(set(before.files) - set(now.files)),
        sorted(path for path in both if before.files[path] != now.files[path]),
    )


def take(address: str, data: Callable[[], DataParams]) -> tuple[Listing, list[str]]:
    """The listing of an address, and the files that a table or a pattern names and that are not there.

    data: of params.yaml, asked for where a table's columns must be known. Raises DataError where nothing can be listed.
    """
    address = address.rstrip("/")
    filesystem, place = storage.opened(address)
    try:
        if BRACES.search(address):
            root, names = _of_pattern(address)
        elif storage.protocol(address) in storage.WEB:
            root, names = _of_web(address, filesystem, data)
        else:
            return _all_below(address, filesystem, place), []
        return _asked_for(root, address, names)
    except DataError:
        raise
    except Exception as error:
        storage.fail(address, "listed", error)


def _all_below(address: str, filesystem: Any, place: str) -> Listing:
    """Of a bucket: folders side by side; or of one file, which lies in the folder above."""
    top = patience.patiently(lambda: filesystem.ls(place, detail=True))
    if [one["name"] for one in top] == [place] and top[0]["type"] == "file":
        name = place.rpartition("/")[2]
        return Listing(address.rpartition("/")[0], address, {name: _file(top[0])})
    folders = [one["name"] for one in top if one["type"] == "directory" and one["name"].rstrip("/") != place]
    found = {one["name"]: one for one in top if one["type"] == "file"}
    for below in _side_by_side(lambda folder: filesystem.find(folder, detail=True), folders):
        found |= below
    files = {
        name.removeprefix(f"{place}/"): _file(info)
        for name, info in found.items()
        if info["type"] == "file" and not name.endswith("/")  # which stands for a folder
    }
    if not files:
        raise DataError(f"{address}: must have files below it. There is none. Look whether the address is right.")
    return Listing(address, address, files)


def _file(info: Mapping[str, Any]) -> File:
    return File(info.get("size"), marks.of(info))


def _of_pattern(address: str) -> tuple[str, list[str]]:
    """The folder, and the names that a pattern in the last part stands for."""
    root, _, pattern = address.rpartition("/")
    if BRACES.search(root):
        raise DataError(f"{address}: must have braces behind its last slash alone, as in train-{{0000..0012}}.tar.")
    parts = [_choices(part) if number % 2 else [part] for number, part in enumerate(BRACES.split(pattern))]
    return root, ["".join(choice) for choice in itertools.product(*parts)]


def _choices(inside: str) -> list[str]:
    """`0..12` with as many digits as it begins with, or `a,b`."""
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if span is None:
        return inside.split(",")
    return [f"{number:0{len(span[1])}d}" for number in range(int(span[1]), int(span[2]) + 1)]


def _of_web(address: str, filesystem: Any, data: Callable[[], DataParams]) -> tuple[str, list[str]]:
    root, _, name = address.rpartition("/")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in ALONE:
        return root, [unquote(name)]
    if suffix not in tables.READERS:
        raise DataError(
            f"{address}: must be a table of the files ({listing(tables.READERS)}), a parquet or tar of examples, or a "
            "pattern of several, as in train-{0000..0012}.tar: the web does not list what lies in a folder. Put such a "
            "table there, with paths below its own folder."
        )
    table = unquote(name)
    return root, [table, *_named_in(table, patience.patiently(lambda: filesystem.cat_file(address)), root, data())]


def _named_in(table: str, content: bytes, root: str, data: DataParams) -> Iterator[str]:
    """Paths below the table's folder that it names, by data.manifest of params.yaml."""
    p = data.manifest
    for row in rows_of(tables.read(BytesIO(content), table, p.columns.named), p.columns, data.kind):
        path = manifest.file_path([root], p.root, row.path, p.suffix)
        if not path.startswith(("/", "../")):  # `prepare` sets them aside
            yield path
    if p.classes is not None:
        yield p.classes


def _asked_for(root: str, address: str, names: Iterable[str]) -> tuple[Listing, list[str]]:
    """Each by itself."""
    filesystem, place = storage.opened(root)
    web = storage.protocol(root) in storage.WEB

    def ask(name: str) -> tuple[str, File | None]:
        try:
            return name, _file(filesystem.info(storage.below(place, name, web)))
        except FileNotFoundError as error:
            if patience.is_gone(error):
                return name, None
            raise

    answers = dict(_side_by_side(ask, dict.fromkeys(names)))
    files = {name: file for name, file in answers.items() if file is not None}
    if not files:
        raise DataError(f"{address}: must name files that are there. None of {len(answers)} is.")
    return Listing(root, address, files), sorted(set(answers) - set(files))


def _side_by_side(ask: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(storage.AT_ONCE) as pool:
        return list(pool.map(lambda item: patience.patiently(lambda: ask(item)), items))
