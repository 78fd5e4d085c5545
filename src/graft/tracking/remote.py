"""DVC's remote as a place for files beside those that DVC tracks: the same storage, credentials and settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from graft.errors import FULL, SurroundingsError
from graft.runtime import storage

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


@contextmanager
def opened(name: str | None) -> Iterator[Remote]:
    """A remote of the project here; None: the default one. Whatever it raises becomes one SurroundingsError."""
    from dvc.repo import Repo

    try:
        with Repo(str(Path.cwd())) as repo:
            found = repo.cloud.get_remote(name=name)
            yield Remote(found.name, found.fs, str(found.fs.join(found.path, FOLDER)))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:  # a disk here, which is said as everywhere
            raise
        if not storage.is_storages(error):
            raise
        raise SurroundingsError(
            f"--remote: must be a remote of DVC's that can be used ({name or 'the default one'}). Got: "
            f"{storage.cleaned(error)} `dvc remote list` shows what there is, `dvc remote add` makes one."
        ) from None
