"""The stages of a pass, run anew in a worktree by DVC: nothing that was computed before is taken for a result."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from graft.config import yaml_file
from graft.errors import ParamsError
from graft.pipeline import layout, lock
from graft.pipeline.lock import Recorded
from graft.pipeline.worktree import CACHE, Worktree
from graft.runtime.progress import say


@dataclass
class Again:
    """stages: what dvc.lock says of each that ran to its end. seconds: that it took, with its start.

    failed: the stage that did not run to its end, after which none is tried. evaluation: as `Original` has it.
    """

    stages: dict[str, Recorded] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: str | None = None
    evaluation: Mapping[str, Any] | None = None


def run(tree: Worktree, python: Path, stages: Sequence[str]) -> Again:
    """Run stages, each by itself and in their order. python: of the environment that they run in.

    DVC's run cache is neither read nor written (`--force`, `--no-commit`), and features of single examples are computed
    into a cache of their own, so that a result is one of this machine, and no other result is touched.
    """
    found = Again()
    _forget(tree.folder, stages)
    environment = tree.environment | {CACHE: str(tree.beside / "features")}
    for stage in stages:
        say(f"{stage}: computed anew")
        command = [str(python), "-m", "dvc", "repro", "--force", "--single-item", "--no-commit", stage]
        began = time.monotonic()
        done = subprocess.run(command, cwd=tree.folder, env=environment, check=False, stdout=2)
        if done.returncode != 0:
            found.failed = stage
            break
        found.seconds[stage] = time.monotonic() - began
    locked = lock.recorded(_text(tree.folder / lock.LOCK))
    found.stages = {stage: locked[stage] for stage in found.seconds if stage in locked}
    if "evaluate" in found.stages:
        metrics = layout.read(tree.folder / layout.FILE).metrics
        found.evaluation = json.loads((tree.folder / metrics).read_text(encoding="utf-8"))
    return found


def _forget(folder: Path, stages: Sequence[str]) -> None:
    """What dvc.lock says of stages that are to run: what it says afterwards is of this time."""
    file = folder / lock.LOCK
    try:
        tree = yaml_file.read(file)
    except ParamsError:  # the original had none, or not a whole one
        file.unlink(missing_ok=True)
        return
    kept = {name: entry for name, entry in tree.get("stages", {}).items() if name not in stages}
    if kept:
        file.write_text(yaml.safe_dump({"schema": "2.0", "stages": kept}, sort_keys=False), encoding="utf-8")
    else:
        file.unlink()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
