"""What was fetched is put in place only if it is what it must be: by its sha256, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def fail(sentence: str) -> NoReturn:
    """One error, and nothing behind it."""
    sys.exit(f"{Path(sys.argv[0]).stem}: {sentence}")


def fault(folder: Path, pins: dict[str, str]) -> str | None:
    """What is wrong with the first file of `pins` (name below folder -> sha256) that is not as it must be."""
    for name, sha256 in pins.items():
        file = folder / name
        if not file.is_file():
            return f"{file}: must be there. Got nothing"
        with file.open("rb") as opened:
            got = hashlib.file_digest(opened, "sha256").hexdigest()
        if got != sha256:
            return f"{file}: must have the sha256 {sha256}. Got {got}"
    return None


def put(target: Path, pins: dict[str, str], fetch: Callable[[Path], None]) -> str:
    """A sentence about what `target` is now: a folder that holds the files of `pins`, and what else `fetch` wrote.

    fetch: fills an empty folder beside target, on the same disk, which is renamed once it is checked.
    """
    if target.exists():
        if (wrong := fault(target, pins)) is not None:
            fail(f"{wrong}. Remove {target}, and say `make {target.name}` again.")
        return f"{target} is there, and is what it must be."
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
        filled = Path(beside) / target.name
        filled.mkdir()
        fetch(filled)
        if (wrong := fault(filled, pins)) is not None:
            sentence = wrong.replace(f"{filled}{os.sep}", "")
            fail(f"what came is not what was asked for, and {target} was not made. {sentence}.")
        filled.rename(target)
    return f"{target} is made."
