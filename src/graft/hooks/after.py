"""What a Git hook starts: a process that waits until Git is done and then does what `graft log` does, and no more.

It is on its own: Git does not wait for it, and nothing that it says or raises reaches Git or the terminal. A line in
LOG says what became of it. NOTED has the states that need nothing any more, by which a hook knows that without Python.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from graft.config import yaml_file
from graft.config.load import FILE, load
from graft.errors import GraftError
from graft.pipeline import layout, lock

NOTED, LOG = Path(".graft/noted"), Path(".graft/hooks.log")
GIT_WITHIN_SECONDS = 3600
MOST_LINES = 200
"""Of either file."""

NICENESS = 10
STATES = 5
"""How many states one process sees to, where Git goes on meanwhile."""


def run(git: int | None) -> None:
    """See to the state that Git leaves. git: its process, which is waited for."""
    from filelock import FileLock, Timeout

    with suppress(OSError):
        os.setsid()  # so that no Ctrl-C of the terminal's is meant
    os.nice(NICENESS)
    LOG.parent.mkdir(exist_ok=True)
    with suppress(Timeout), FileLock(f"{LOG}.lock", timeout=0):  # else another one is here, and looks again
        if git is not None:
            _wait(git)
        where = os.fsencode(os.environ.get("MLFLOW_TRACKING_URI", ""))  # which MLflow sets, once it is used
        for _ in range(STATES):
            state = _state(where)
            if state in _noted():
                return
            said, settled = _logged()
            if said:
                _append(LOG, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {said}")
            if settled:
                _append(NOTED, state)
            if not settled and state == _state(where):
                return


def _wait(git: int) -> None:
    with suppress(psutil.Error):
        psutil.Process(git).wait(GIT_WITHIN_SECONDS)


def _logged() -> tuple[str, bool]:
    """What there is to say, and whether this state needs nothing any more."""
    try:
        params, paths = load(), layout.read()
        if not lock.md5s(yaml_file.read(lock.LOCK)) or lock.changed(yaml_file.read(FILE), []):
            return "", True  # not all stages have run with this params.yaml: these two files never are a pass
        if missing := paths.missing():
            n = f"{len(missing)} files are" if len(missing) > 1 else f"{missing[0]} is"
            return f"not logged: {n} not here. Run `dvc pull` or `dvc checkout`, then `graft log`.", False
        from graft.tracking import run as tracking

        tracking.require_whole(paths)
        logged = tracking.complete(params, paths, running=None)
        return f"in MLflow: {logged.name} ({logged.run_id})", True
    except GraftError as error:
        return f"not logged: {' '.join(str(error).split())}", False
    except Exception as error:  # nobody sees a traceback here
        return f"not logged: {type(error).__name__}: {' '.join(str(error).split())}. Run `graft log`.", False


def _state(where: bytes) -> str:
    """As the hook itself reckons it, by Git alone: of both files, and where runs go."""
    content = b"".join(path.read_bytes() for path in (FILE, lock.LOCK) if path.is_file()) + where
    hashed = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=False)
    return hashed.stdout.decode().strip()


def _noted() -> list[str]:
    return NOTED.read_text().splitlines() if NOTED.is_file() else []


def _append(file: Path, line: str) -> None:
    """One line; the oldest go when there are many."""
    before = file.read_text().splitlines() if file.is_file() else []
    file.write_text("".join(f"{one}\n" for one in [*before[1 - MOST_LINES :], line]))
