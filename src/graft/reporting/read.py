"""The examples that a model was judged on, as they were catalogued."""

from __future__ import annotations

from pathlib import Path

from graft.errors import DataError, StaleError
from graft.examples import catalogue
from graft.examples.sources import SOURCES
from graft.inputs.spec import UndecodableError

GONE = (OSError, ValueError, LookupError, UndecodableError)
"""What an example that is not here, or is none any more, raises as it is read and decoded."""


class AsCatalogued:
    """The examples that the model was judged on: one that has changed since is as good as gone."""

    def __init__(self, source: str, root: Path, catalogue_file: Path) -> None:
        """Raises DataError where `root` is not what the source expects."""
        used = catalogue.read(catalogue_file).used
        self._sha256s = dict(zip(used["path"], used["sha256"], strict=True))
        self._read = catalogue.reader(SOURCES[source], root)

    def read(self, path: str) -> bytes:
        """Raises OSError where it cannot be read, or is not what the catalogue has; KeyError for what it has not."""
        try:
            return self._read(path, self._sha256s[path])
        except (StaleError, DataError) as error:
            raise OSError(str(error)) from None


def reader(source: str, root: Path, catalogue_file: Path) -> AsCatalogued | None:
    """None where there is nothing at `root` that the source could read, or no catalogue."""
    try:
        return AsCatalogued(source, root, catalogue_file)
    except (DataError, OSError, ValueError, KeyError):
        return None


def link(root: Path, path: str) -> str | None:
    """The address of an example's file; None where it is none of its own, in an archive, an array or a table."""
    file = root / path
    return file.resolve().as_uri() if root.is_dir() and file.is_file() else None


Question = tuple[str, int]
"""Path of an example, number of the class it is asked about."""
