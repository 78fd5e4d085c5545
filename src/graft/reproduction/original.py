"""What is to be reproduced, and what was recorded of it: by dvc.lock and git, and by MLflow where it has the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graft.errors import NotJudgedError, TrackingError
from graft.pipeline import layout, lock
from graft.pipeline.lock import Recorded
from graft.runtime import environment
from graft.runtime.environment import Environment
from graft.runtime.progress import say
from graft.tracking import git, recorded
from graft.tracking.recorded import Record

REQUIREMENTS = Path("requirements.lock")
UNTRACKED = "untracked "
"""How a line of a run's diff begins that names a file which git did not know."""


@dataclass(frozen=True)
class Original:
    """name: for a reader. diff: what git applies to the commit. untracked: path -> `sha256:<digits>` beside it.

    stages: what dvc.lock said of each. lock: its text, for DVC to fetch files by. environment: None where nothing says
    what it was. evaluation: model -> split -> metric. summary: what `metrics/summary.json` has of it, for where that is
    not known.
    """

    name: str
    commit: str
    stages: Mapping[str, Recorded]
    lock: str
    diff: str = ""
    untracked: Mapping[str, str] | None = None
    environment: Environment | None = None
    evaluation: Mapping[str, Any] | None = None
    summary: Mapping[str, float] | None = None


def find(name: str, project: Path) -> Original:
    """A model's file, else a git revision or a DVC experiment, else a run in MLflow, by its id or its name.

    Raises NotJudgedError where it is none, and GraftError where what was recorded of it does not suffice.
    """
    if Path(name).is_file():
        return _of_model(Path(name), project)
    commit = git.revision(project, name)
    if commit is not None:
        return _of_commit(name if name.startswith(commit[:7]) else f"{name} ({commit[:7]})", commit, project)
    record = recorded.of_run(name)
    if record is not None:
        return _of_record(record, project)
    raise NotJudgedError(
        f"{name!r}: must be the id or the name of a run in MLflow, a git revision, a DVC experiment, or the file of a "
        "model. There is none of them. `mlflow ui` and `git log` show what there is."
    )


def _of_model(file: Path, project: Path) -> Original:
    """By its bytes: the first commit whose dvc.lock names them, else the first run."""
    md5 = lock.md5_of_file(file)
    for commit in git.commits_with(project, md5, lock.LOCK):
        if md5 in lock.outputs(_committed(project, lock.LOCK, commit)).values():
            return _of_commit(f"{file} ({commit[:7]})", commit, project)
    record = recorded.by_model(md5)
    if record is None:
        raise NotJudgedError(
            f"{file}: must be a model that a pass of this project wrote. No commit's {lock.LOCK} and no run in MLflow "
            f"names its bytes (md5 {md5}). Name the run or the revision that it came from."
        )
    return _of_record(record, project)


def _of_commit(name: str, commit: str, project: Path) -> Original:
    text = _committed(project, lock.LOCK, commit)
    stages = lock.recorded(text)
    if missing := [stage for stage in layout.STAGES if stage not in stages]:
        raise NotJudgedError(
            f"{name}: must hold a result. Its {lock.LOCK} says nothing of {', '.join(missing)}. Run `dvc repro` and "
            "commit, or name another revision or a run."
        )
    found = Original(name, commit, stages, text)
    record = _logged(stages)
    if record is not None:
        found = replace(found, environment=record.environment, evaluation=record.evaluation)
    return found if found.environment is not None else replace(found, environment=_pinned(project, commit))


def _logged(stages: Mapping[str, Recorded]) -> Record | None:
    """The run with the same bytes; a store that cannot be asked is a word, since a commit says enough by itself."""
    try:
        return recorded.by_outputs({stage: lock.StageState(stages[stage].outs, False).md5 for stage in layout.STAGES})
    except TrackingError as error:
        say(f"note: what MLflow knows of it is left out. {error}")
        return None


def _pinned(project: Path, commit: str) -> Environment | None:
    text = _committed(project, REQUIREMENTS, commit)
    return environment.of_lock_file(text) if text else None


def _of_record(record: Record, project: Path) -> Original:
    """Deps and params of a stage are those of the dvc.lock that has the run's own outputs for it."""
    if git.revision(project, record.commit) is None:
        raise NotJudgedError(
            f"{record.name}: its commit {record.commit} must be in this repository, and is not. Run `git fetch`."
        )
    texts = [text for text in (record.lock, _committed(project, lock.LOCK, record.commit)) if text]
    locks = [lock.recorded(text) for text in texts]
    stages = {}
    for stage, outs in record.outs.items():
        same = (one[stage] for one in locks if stage in one and one[stage].outs == outs)
        stages[stage] = next(same, Recorded(outs))
    diff, untracked = _parted(record.uncommitted)
    return Original(
        record.name,
        record.commit,
        stages,
        texts[0] if texts else "",
        diff,
        untracked,
        record.environment or _pinned(project, record.commit),
        record.evaluation,
    )


def _parted(uncommitted: str) -> tuple[str, dict[str, str]]:
    """The diff, and what is named behind it. No line of a diff begins like these: its first letter says what it is."""
    lines = uncommitted.splitlines(keepends=True)
    named = [line for line in lines if line.startswith(UNTRACKED)]
    untracked = {}
    for line in named:
        content, _, path = line.removeprefix(UNTRACKED).rstrip("\n").partition(" ")
        untracked[path] = content
    return "".join(line for line in lines if line not in named), untracked


def numerics_of(original: Original) -> str:
    """`numerics` of params.yaml as the original had it; portable where nothing says so."""
    for stage in original.stages.values():
        if stage.params and "numerics" in stage.params:
            return str(stage.params["numerics"])
    return "portable"


def _committed(project: Path, path: Path, commit: str) -> str:
    return (git.committed(project, path, commit) or b"").decode("utf-8", "replace")
