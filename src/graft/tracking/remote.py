"""DVC's remote as a place for files beside those that DVC tracks: the same storage, credentials and settings.

An address or a folder that DVC knows nothing of is such a place, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from graft.errors import FULL, SurroundingsError
from graft.runtime.reading import patience, storage

FOLDER = "graft"
"""In the remote; what `dvc gc --cloud` looks through is `files/`."""


@dataclass(frozen=True)
class Remote:
    """name: as DVC calls it. filesystem: of DVC's, which all storages have in common. path: where the files lie."""

    name: str
    filesystem: Any
    path: str

    def names(self, folder: str) -> list[str]:
        """The files below a folder, by their paths in it, sorted; none where there is no such folder."""
        place = self._at(folder)
        if not self.filesystem.exists(place):
            return []
        found = (self.filesystem.relparts(one, place) for one in self.filesystem.find(place))
        return sorted("/".join(parts) for parts in found)

    def put(self, file: Path, name: str) -> None:
        self.filesystem.makedirs(self.filesystem.parent(self._at(name)), exist_ok=True)
        self.filesystem.put_file(str(file), self._at(name))

    def get(self, name: str, file: Path) -> None:
        self.filesystem.get_file(self._at(name), str(file))

    def open(self, name: str) -> IO[bytes]:
        """To be read here and there: not all of it need travel."""
        opened: IO[bytes] = self.filesystem.open(self._at(name), "rb")
        return opened

    def _at(self, name: str) -> str:
        return str(self.filesystem.join(self.path, *name.split("/")))


@dataclass(frozen=True)
class AtAddress:
    """A bucket or a folder that is none of DVC's. name: its address. filesystem: of fsspec's. path: as that has it."""

    name: str
    filesystem: Any
    path: str

    def names(self, folder: str) -> list[str]:
        """As `Remote.names`."""
        place = self._at(folder)
        try:
            found = patience.patiently(lambda: self.filesystem.find(place))
        except FileNotFoundError:
            return []
        return sorted(str(one).removeprefix(f"{place}/") for one in found)

    def put(self, file: Path, name: str) -> None:
        place = self._at(name)
        patience.patiently(lambda: self.filesystem.makedirs(place.rpartition("/")[0], exist_ok=True))
        patience.patiently(lambda: self.filesystem.put_file(str(file), place))

    def get(self, name: str, file: Path) -> None:
        patience.patiently(lambda: self.filesystem.get_file(self._at(name), str(file)))

    def open(self, name: str) -> IO[bytes]:
        opened: IO[bytes] = patience.patiently(lambda: self.filesystem.open(self._at(name), "rb"))
        return opened

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"


@contextmanager
def opened(name: str | None) -> Iterator[Remote | AtAddress]:
    """A remote of the project here; None: the default one; a bucket's address or a folder: that.

    Whatever a storage raises becomes one SurroundingsError.
    """
    try:
        if name is not None and (storage.is_address(name) or "/" in name):
            address = name if storage.is_address(name) else f"file://{Path(name).expanduser().absolute()}"
            if storage.protocol(address) in storage.WEB:
                raise SurroundingsError(
                    f"--remote: must be a bucket or a folder, into which files can be put. Got {name}."
                )
            yield AtAddress(name, *storage.opened(address))
        else:
            yield from _of_dvc(name)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:  # a disk here, which is said as everywhere
            raise
        if not patience.is_storages(error):
            raise
        called, said = name or "the default one", storage.cleaned(error)
        raise SurroundingsError(
            f"--remote: must be a remote of DVC's that can be used, a bucket or a folder ({called}). Got: "
            f"{said} `dvc remote list` shows what there is, `dvc remote add` makes one."
        ) from None


def _of_dvc(name: str | None) -> Iterator[Remote]:
    from dvc.repo import Repo

    with Repo(str(Path.cwd())) as repo:
        found = repo.cloud.get_remote(name=name)
        yield Remote(found.name, found.fs, str(found.fs.join(found.path, FOLDER)))
