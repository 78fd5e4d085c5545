"""The stages of a pass, run anew in a worktree by DVC: nothing that was computed before is taken for a result."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from graft.config import yaml_file
from graft.errors import ParamsError
from graft.pipeline import lock
from graft.pipeline.lock import Recorded
from graft.pipeline.worktree import CACHE, Worktree
from graft.reproduction import place
from graft.runtime.progress import say


@dataclass(frozen=True)
class Again:
    """stages: what dvc.lock says of each that ran to its end. seconds: that it took.

    failed: the stage that did not run to its end, after which none is tried. evaluation: as `Original` has it.
    """

    stages: Mapping[str, Recorded]
    seconds: Mapping[str, float]
    failed: str | None
    evaluation: Mapping[str, Any] | None = None


def run(tree: Worktree, python: Path, stages: Sequence[str]) -> Again:
    """Run stages, each by itself and in their order. python: of the environment that they run in.

    DVC's run cache is neither read nor written (`--force`, `--no-commit`), and features of single examples are computed
    into a cache of their own, so that a result is one of this machine, and no other result is touched.
    """
    _forget(tree.folder, stages)
    say(f"{', '.join(stages)}: computed anew")
    command = [str(python), "-m", "dvc", "repro", "--force", "--single-item", "--no-commit", *stages]
    began = time.time()
    environment = tree.environment | {CACHE: str(tree.beside / "features")}
    subprocess.run(command, cwd=tree.folder, env=environment, check=False, stdout=2)
    locked = lock.recorded(_text(tree.folder / lock.LOCK))
    ran = {stage: locked[stage] for stage in stages if stage in locked}
    failed = next((stage for stage in stages if stage not in ran), None)
    found = Again(ran, _seconds(ran, tree.folder, began), failed)
    if "evaluate" in ran:
        text = (tree.folder / place.paths(tree.folder)["metrics"]).read_text(encoding="utf-8")
        found = replace(found, evaluation=json.loads(text))
    return found


def _seconds(ran: Mapping[str, Recorded], folder: Path, began: float) -> dict[str, float]:
    """From the end of the stage before to its own, when it wrote its last output: DVC runs them one after the other."""
    found = {}
    for stage, one in ran.items():
        ended = max((file.stat().st_mtime for path in one.outs for file in _files(folder / path)), default=began)
        found[stage] = max(0.0, ended - began)
        began = max(began, ended)
    return found


def _files(path: Path) -> list[Path]:
    return [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]


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
