"""Files of the original in DVC's cache, by their md5.

https://dvc.org/doc/user-guide/project-structure/internal-files#structure-of-the-cache-directory
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = ".dir"


def file(cache: Path, md5: str) -> Path | None:
    """Where a file lies; None where the cache does not have it."""
    path = cache / "files" / "md5" / md5[:2] / md5[2:]
    return path if md5 and path.is_file() else None


def files(cache: Path, md5: str) -> dict[str, Path]:
    """Those of a folder, by their paths in it, as far as the cache has them."""
    listing = file(cache, md5) if md5.endswith(FOLDER) else None
    if listing is None:
        return {}
    entries = json.loads(listing.read_text(encoding="utf-8"))
    found = {entry["relpath"]: file(cache, entry["md5"]) for entry in entries}
    return {name: path for name, path in found.items() if path is not None}
