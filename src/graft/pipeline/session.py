"""Which `dvc` process runs this one, and which stages have run under it.

DVC skips or restores a stage without starting it, so a stage that does start leaves a note naming
the `dvc` process above it; a stage without a note of the same process was cached.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import psutil

NOTES = Path(".graft/executed.json")
TOOK = Path(".graft/took.json")
"""What each stage took when it ran here last: nothing that a stage or a run reads."""

PROCESS = "GRAFT_DVC_PROCESS"
"""In the environment of a stage that a warm process forked: the `dvc` process, which is not among its ancestors."""

PYTHON = re.compile(r"(python|pypy)w?[\d.]*[td]*(\.exe)?", re.IGNORECASE)
"""File names of interpreters: python, python3.13t, pythonw.exe, pypy3."""

OPTION = re.compile(r"-[^cmXW-]*([cmXW])(.*)", re.DOTALL)
"""An option of Python's with a value, here or as the next argument, perhaps after some without: -Pm, -Xdev, -uc."""


def note_execution(stage: str) -> None:
    """Leave word that `stage` runs now."""
    NOTES.parent.mkdir(exist_ok=True)
    NOTES.write_text(json.dumps(_notes() | {stage: _session()}, indent=2) + "\n")


def executed() -> set[str]:
    """The stages that have run in this session."""
    session = _session()
    return {stage for stage, noted in _notes().items() if noted == session}


def note_took(stage: str, values: Mapping[str, Any]) -> None:
    """Leave word of what `stage` took, now that it has ended. Costs nothing but the word where it cannot be written."""
    noted = {"session": _session(), "ended": time.time(), **values}
    with suppress(OSError):
        TOOK.parent.mkdir(exist_ok=True)
        TOOK.write_text(json.dumps(took() | {stage: noted}, indent=2) + "\n")


def took() -> dict[str, dict[str, Any]]:
    """stage -> what `note_took` noted, beside the `session` it ran in and when it `ended`."""
    return _read(TOOK)


def process_above() -> psutil.Process | None:
    """The nearest `dvc` process that started this one."""
    if PROCESS in os.environ:
        with suppress(psutil.Error, ValueError):
            return psutil.Process(int(os.environ[PROCESS]))
    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            if is_dvc(process.cmdline()):
                return process
    return None


def is_dvc(command: Sequence[str]) -> bool:
    """Whether a process with these arguments, the program's own name first, is DVC.

    By the program alone: `su - dvc`, `vim dvc` and `python train.py dvc` are other programs.
    """
    if not command:
        return False
    name = _path(command[0]).name
    if name in ("dvc", "dvc.exe"):
        return True
    return PYTHON.fullmatch(name) is not None and _runs_dvc(command[1:])


def _runs_dvc(arguments: Sequence[str]) -> bool:
    """Whether a Python with these arguments runs DVC's script or module.

    Its options: https://docs.python.org/3/using/cmdline.html.
    """
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "-":  # a program from standard input
            return False
        if not argument.startswith("-"):
            file = _path(argument)
            return file.name in ("dvc", "dvc.exe", "dvc-script.py") or file.parts[-2:] == ("dvc", "__main__.py")
        option = None if argument.startswith("--") else OPTION.fullmatch(argument)
        if argument == "--check-hash-based-pycs" or option is not None:
            letter, value = option.groups() if option else ("", "")
            value = value or (rest.pop(0) if rest else "")
            if letter in ("c", "m"):
                return letter == "m" and value in ("dvc", "dvc.__main__")
    return False


def _path(text: str) -> PurePath:
    """As Linux or Windows writes it."""
    return PurePath(text.replace("\\", "/"))


def _notes() -> dict[str, str]:
    return _read(NOTES)


def _read(file: Path) -> dict[str, Any]:
    """The JSON object that a file holds; nothing where there is none."""
    try:
        values = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _session() -> str:
    """Names the nearest `dvc` process above this one, or the shell where a stage is started by hand."""
    above = process_above()
    if above is not None:
        return f"dvc {above.pid} {above.create_time()}"
    ancestors = psutil.Process().parents()
    first = ancestors[0] if ancestors else psutil.Process()
    return f"shell {first.pid} {first.create_time()}"
