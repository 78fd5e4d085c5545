"""Projects on product photos whose head is edited, time and again: of this commit, without its tracking, of an earlier
commit. For `pipeline.py`, which says what they have in common.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import REPOSITORY, make_project, timed

RATE = 0.001

TRACKS_NOTHING = {
    "live.py": """
from contextlib import contextmanager

from graft.pipeline import session


@contextmanager
def live(stage, params, paths):
    session.note_execution(stage)
    yield lambda epoch, metrics: None
""",
    "run.py": """
from types import SimpleNamespace

from graft.pipeline import session


def before_judging(stage, params):
    session.note_execution(stage)


def complete(params, paths, running):
    return SimpleNamespace(run_id="", name="none")
""",
}
"""What two modules of `tracking` hold where a pass is timed without MLflow. No stage depends on them."""


@dataclass
class Edited:
    """folder: a project that has run once. python: what runs it, in whose environment `dvc` is. edits: so far."""

    folder: Path
    python: Path
    edits: int = 0

    def repro(self) -> float:
        """Seconds of `dvc repro`."""
        return timed(["dvc", "repro"], self.folder, self.folder.with_suffix(".cache"), self.python)[0]

    def edit(self) -> float:
        """Seconds of `dvc repro` after `train.learning_rate` was changed."""
        file = self.folder / "params.yaml"
        head, train = file.read_text().split("\ntrain:\n")
        self.edits += 1
        rate = round(RATE * (1 + self.edits / 20), 6)
        train = re.sub(r"(?m)^  learning_rate: .*$", f"  learning_rate: {rate}", train, count=1)
        file.write_text(f"{head}\ntrain:\n{train}")
        return self.repro()


def of_this_commit(folder: Path, changes: Mapping[str, Any]) -> Edited:
    make_project(folder, changes)
    return Edited(folder, Path(sys.executable))


def without_tracking(folder: Path, changes: Mapping[str, Any]) -> Edited:
    """The same code, but nothing of MLflow is imported, opened or logged."""
    project = of_this_commit(folder, changes)
    source = folder / "src" / "graft"
    for name, text in TRACKS_NOTHING.items():
        (source / "tracking" / name).write_text(f"from __future__ import annotations\n{text}")
    libraries = source / "runtime" / "warm" / "libraries.py"
    libraries.write_text(re.sub(r'(?m)^    "(mlflow|sqlalchemy|alembic)\..*\n', "", libraries.read_text()))
    return project


def of_earlier_commit(folder: Path, changes: Mapping[str, Any], python: Path) -> Edited:
    """python: of an environment in which a checkout of that commit is installed in place (`pip install -e`)."""
    where = "import graft, pathlib; print(pathlib.Path(graft.__file__).parents[2])"
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [str(python), "-c", where], capture_output=True, text=True, check=True, cwd=folder.parent, env=alone
    )
    repository = Path(found.stdout.strip())
    if repository == REPOSITORY:
        raise SystemExit(
            f"--before: must be the Python of another checkout. Got {python}, which has this one installed."
        )
    make_project(folder, changes, repository)
    return Edited(folder, python)
