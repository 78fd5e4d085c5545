"""graft.lock: the code of each stage as one digest, for projects that do not hold graft's sources.

`dvc.yaml` of such a project depends on it where this repository's depends on the sources, so that another graft runs
again exactly the stages whose code differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graft
from graft.config import yaml_file
from graft.errors import ParamsError, StaleError, listing
from graft.pipeline import code
from graft.pipeline.layout import OPTIONAL, STAGES

FILE = Path("graft.lock")
DIGITS = 16
"""Hexadecimal ones of a digest: enough to tell versions apart, and short in `dvc params diff`."""

HEADER = """\
# Written by `graft init` for `dvc.yaml` to depend on: the code of each of graft's stages as one digest, so that another
# graft runs again exactly the stages whose code differs. After an upgrade: `graft init --update`.
"""


def digest(stage: str) -> str:
    """Of the installed code, comments and docstrings aside."""
    return code.stage_digest(stage)[:DIGITS]


def text() -> str:
    """The file for the installed graft."""
    lines = [f'version: "{graft.__version__}"', *(f'{stage}: "{digest(stage)}"' for stage in (*STAGES, *OPTIONAL))]
    return HEADER + "".join(f"{line}\n" for line in lines)


def read(file: Path = FILE) -> dict[str, Any]:
    """What the file holds; nothing where there is none, or where it is in the middle of a merge."""
    try:
        return yaml_file.read(file)
    except ParamsError:
        return {}


def changed(file: Path = FILE) -> list[str]:
    """The stages whose installed code is not what the file names."""
    named = read(file)
    return [stage for stage in (*STAGES, *OPTIONAL) if named.get(stage) != digest(stage)]


def require_current(stage: str, file: Path = FILE) -> None:
    """Raises StaleError where the file names other code for a stage than the installed one.

    DVC would record results of this code as those of the other. Without the file there is nothing to compare.
    """
    if file.exists() and read(file).get(stage) != digest(stage):
        raise StaleError(
            f"{file}: must name the code of the graft that runs, {graft.__version__}. It was written by "
            f"{read(file).get('version', 'another one')}, and differs for {listing(changed(file))}. "
            f"Run `graft init --update` and `dvc repro`: the stages whose code differs run again."
        )
