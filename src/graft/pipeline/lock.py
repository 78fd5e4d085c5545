"""What DVC knows of this pass: the md5s of every stage's files, and which stages it executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.config import yaml_file
from graft.errors import ParamsError, TrackingError
from graft.pipeline import layout, session

LOCK, PARAMS = Path("dvc.lock"), Path("params.yaml")


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


@dataclass(frozen=True)
class Recorded:
    """What a dvc.lock says of a stage. outs, deps: path -> md5. params: key -> value, of params.yaml; those of another
    file as `file:key`. deps and params are None where only the outputs are known.
    """

    outs: dict[str, str]
    deps: dict[str, str] | None = None
    params: dict[str, Any] | None = None


def recorded(text: str) -> dict[str, Recorded]:
    """Every stage of a dvc.lock; none where it is none."""
    try:
        stages = yaml_file.parse(text, str(LOCK)).get("stages", {})
    except ParamsError:
        return {}
    return {stage: _recorded(entry) for stage, entry in stages.items()}


def _recorded(entry: dict[str, Any]) -> Recorded:
    params = {
        key if file == str(PARAMS) else f"{file}:{key}": value
        for file, values in entry.get("params", {}).items()
        for key, value in values.items()
    }
    return Recorded(_md5s(entry), _md5s(entry, "deps"), params)


def stage_states(running: str | None, outputs: Iterable[Path]) -> dict[str, StageState]:
    """Every stage of the pass. `dvc.lock` does not have `running` yet: its `outputs` are hashed here."""
    executed, locked = session.executed(), _locked()
    states = {}
    for stage in layout.STAGES:
        found = _md5s(locked.get(stage, {}))
        if stage == running:
            found = {str(path): md5_of_file(path) for path in outputs}
        states[stage] = StageState(found, stage == running or stage in executed)
    return states


def md5s(lock: dict[str, Any]) -> dict[str, str]:
    """stage -> one md5 for all outputs, of what a dvc.lock holds; nothing where a stage is missing."""
    stages = lock.get("stages", {})
    if any(stage not in stages for stage in layout.STAGES):
        return {}
    return {stage: StageState(_md5s(stages[stage]), False).md5 for stage in layout.STAGES}


def outputs(text: str) -> dict[str, str]:
    """path -> md5 of every output that a dvc.lock names; nothing where it is none."""
    try:
        stages = yaml_file.parse(text, str(LOCK)).get("stages", {})
    except ParamsError:
        return {}
    return {path: md5 for entry in stages.values() for path, md5 in _md5s(entry).items()}


def _md5s(entry: dict[str, Any], kind: str = "outs") -> dict[str, str]:
    return {str(one["path"]): str(one.get("md5", "")) for one in entry.get(kind, [])}


def require_current(params: dict[str, Any]) -> None:
    """Raises TrackingError unless `dvc.lock` was made with these params and the outputs are the ones it names.

    params: the tree of params.yaml.
    """
    stale = changed(params)
    if stale or not _locked():
        raise TrackingError(
            f"{LOCK}: must belong to params.yaml and the files. Different: {', '.join(stale) or 'there is none'}. "
            "Run `dvc repro`, or `dvc checkout` for the files of this dvc.lock."
        )


def changed(
    params: dict[str, Any], outputs: Iterable[Path] | None = None, stages: Collection[str] | None = None
) -> list[str]:
    """What `dvc.lock` has otherwise: parameters with their stage, paths of outputs; nothing where there is no lock.

    params: the tree of params.yaml. outputs: those to look at; None: all. stages: whose; None: all.
    """
    found = []
    looked_at = None if outputs is None else {str(path) for path in outputs}
    for stage, entry in _locked().items():
        if stages is not None and stage not in stages:
            continue
        for key, value in entry.get("params", {}).get("params.yaml", {}).items():
            node: Any = params
            for part in key.split("."):
                node = node.get(part) if isinstance(node, dict) else None
            if node != value:
                found.append(f"params.yaml {key} (of {stage})")
        for path, md5 in _md5s(entry).items():
            if (looked_at is None or path in looked_at) and md5_of_file(Path(path)) != md5:
                found.append(path)
    return found


def written() -> list[str]:
    """What a pass writes beside MLflow's store: `dvc.lock`, dvc.yaml's outputs, notes, what DVC has git ignore.

    Paths, and patterns of git's.
    """
    exported = [str(path) for path in layout.exported()]
    return [str(LOCK), *map(str, layout.read().all()), *exported, str(session.NOTES.parent), "*.gitignore"]


def md5_of(path: Path) -> str:
    """The md5 that `dvc.lock` holds for an output, or the file's own."""
    for entry in _locked().values():
        for out in entry.get("outs", []):
            if Path(str(out["path"])) == path and out.get("md5"):
                return str(out["md5"])
    return md5_of_file(path)


def md5_of_dependency(stage: str, path: Path) -> str | None:
    """The md5 that `dvc.lock` holds for what a stage read; None where it has none."""
    for dependency in _locked().get(stage, {}).get("deps", []):
        if Path(str(dependency["path"])) == path:
            return str(dependency.get("md5") or "") or None
    return None


def _locked() -> dict[str, Any]:
    try:
        stages: dict[str, Any] = yaml_file.read(LOCK).get("stages", {})
    except ParamsError:  # there is none, or it is in the middle of a merge
        return {}
    return stages


def md5_of_file(path: Path) -> str:
    """As DVC: of a file its bytes; of a directory its sorted listing of md5 and relpath, with '.dir'."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        listing = [{"md5": md5_of_file(p), "relpath": p.relative_to(path).as_posix()} for p in files]
        text = json.dumps(listing, sort_keys=True)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
