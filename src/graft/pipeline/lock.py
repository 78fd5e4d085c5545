"""What DVC knows of this pass: the md5s of every stage's files, and which stages it executed.

DVC skips or restores a stage without starting it, so a stage that does start leaves a note naming
the `dvc` process above it; a stage without a note of the same process was cached.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from graft.config import yaml_file
from graft.errors import ParamsError, TrackingError
from graft.pipeline import layout

NOTES = Path(".graft/executed.json")
LOCK = Path("dvc.lock")
PROCESS = "GRAFT_DVC_PROCESS"
"""In the environment of a stage that a warm process forked: the `dvc` process, which is not among its ancestors."""


@dataclass(frozen=True)
class StageState:
    """md5s: path -> md5 of its outputs. executed: by this pass; otherwise DVC had it cached."""

    md5s: dict[str, str]
    executed: bool

    @property
    def md5(self) -> str:
        """One md5 for all outputs."""
        joined = "\n".join(f"{path} {md5}" for path, md5 in sorted(self.md5s.items()))
        return hashlib.md5(joined.encode(), usedforsecurity=False).hexdigest()


def note_execution(stage: str) -> None:
    """Leave word that `stage` runs now."""
    NOTES.parent.mkdir(exist_ok=True)
    NOTES.write_text(json.dumps(_notes() | {stage: _session()}, indent=2) + "\n")


def stage_states(running: str | None, outputs: Iterable[Path]) -> dict[str, StageState]:
    """Every stage of the pass. `dvc.lock` does not have `running` yet: its `outputs` are hashed here."""
    notes, session = _notes(), _session()
    locked = _locked()
    states = {}
    for stage in layout.STAGES:
        outs = locked.get(stage, {}).get("outs", [])
        md5s = {str(out["path"]): str(out.get("md5", "")) for out in outs}
        if stage == running:
            md5s = {str(path): _md5(path) for path in outputs}
        states[stage] = StageState(md5s, executed=stage == running or notes.get(stage) == session)
    return states


def require_current(params: dict[str, Any]) -> None:
    """Raises TrackingError unless `dvc.lock` was made with these params and the outputs are the ones it names.

    params: the tree of params.yaml.
    """
    stale = []
    for stage, entry in _locked().items():
        for key, value in entry.get("params", {}).get("params.yaml", {}).items():
            node: Any = params
            for part in key.split("."):
                node = node.get(part) if isinstance(node, dict) else None
            if node != value:
                stale.append(f"params.yaml {key} (of {stage})")
        stale += [out["path"] for out in entry.get("outs", []) if _md5(Path(out["path"])) != out.get("md5")]
    if stale or not _locked():
        raise TrackingError(
            f"{LOCK}: must belong to params.yaml and the files. Different: {', '.join(stale) or 'there is none'}. "
            "Run `dvc repro`, or `dvc checkout` for the files of this dvc.lock."
        )


def written() -> list[str]:
    """Paths that a pass writes: `dvc.lock` and the outputs that dvc.yaml declares."""
    return [str(LOCK), *map(str, layout.read().all())]


def md5_of(path: Path) -> str:
    """The md5 that `dvc.lock` holds for an output, or the file's own."""
    for entry in _locked().values():
        for out in entry.get("outs", []):
            if Path(str(out["path"])) == path and out.get("md5"):
                return str(out["md5"])
    return _md5(path)


def _locked() -> dict[str, Any]:
    try:
        stages: dict[str, Any] = yaml_file.read(LOCK).get("stages", {})
    except ParamsError:  # there is none, or it is in the middle of a merge
        return {}
    return stages


def _notes() -> dict[str, str]:
    try:
        notes: dict[str, str] = json.loads(NOTES.read_text())
    except (OSError, ValueError):
        return {}
    return notes


def _session() -> str:
    """Names the nearest `dvc` process above this one, or the shell where a stage is started by hand."""
    above = process_above()
    if above is not None:
        return f"dvc {above.pid} {above.create_time()}"
    ancestors = psutil.Process().parents()
    first = ancestors[0] if ancestors else psutil.Process()
    return f"shell {first.pid} {first.create_time()}"


def process_above() -> psutil.Process | None:
    """The `dvc` process that started this one."""
    if PROCESS in os.environ:
        with suppress(psutil.Error, ValueError):
            return psutil.Process(int(os.environ[PROCESS]))
    for process in psutil.Process().parents():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if any(Path(part).name in ("dvc", "dvc.exe") for part in command[:2]) or "dvc" in command[1:3]:
            return process
    return None


def _md5(path: Path) -> str:
    """As DVC: of a file its bytes; of a directory its sorted listing of md5 and relpath, with '.dir'."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        listing = [{"md5": _md5(p), "relpath": p.relative_to(path).as_posix()} for p in files]
        text = json.dumps(listing, sort_keys=True)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
