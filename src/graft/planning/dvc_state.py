"""Which stages `dvc repro` would run, restore or leave alone, and why.

DVC decides: its own objects are asked what changed, and its run cache what it holds. What a stage would write is known
where DVC leaves it alone or restores it; then it is compared with what the stages below were run with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graft.errors import SurroundingsError
from graft.planning import causes

CURRENT, RUNS, MAY_RUN, RESTORED = "up to date", "runs", "may run", "from DVC's cache"
"""What becomes of a stage. MAY_RUN: where one above it writes something new, which nobody knows until that has run."""


@dataclass(frozen=True)
class StagePlan:
    """What becomes of a stage, and why: a phrase for each thing that changed.

    files: output -> where what it will hold lies, in the workspace or in DVC's cache; none of a stage that runs.
    """

    stage: str
    outcome: str
    why: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def starts(self) -> bool:
        """Whether DVC starts the stage, or may."""
        return self.outcome in (RUNS, MAY_RUN)


@dataclass(frozen=True)
class PipelinePlan:
    """stages: in the order in which DVC takes them. absent: dependencies in dvc.lock that are not on this machine."""

    stages: tuple[StagePlan, ...]
    absent: tuple[str, ...]

    def of(self, stage: str) -> StagePlan:
        """The plan of one stage; up to date where dvc.yaml has none of this name."""
        return next((one for one in self.stages if one.stage == stage), StagePlan(stage, CURRENT))

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return all(one.outcome == CURRENT for one in self.stages)


def read() -> PipelinePlan:
    """What `dvc repro` would do here.

    Raises SurroundingsError where this is no project of DVC's, where DVC is at work, or cannot read its own files.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with _quiet(), Repo() as repo, repo.lock:
            return _plan(repo)
    except NotDvcRepoError:
        raise SurroundingsError(
            "this folder: must be a project of DVC's, which runs the stages. Got none. Run `graft init` in a folder of "
            "your own, or `dvc init` in this one."
        ) from None
    except LockError:
        raise SurroundingsError(
            "DVC: must be at rest to be asked what it would do. Got: another `dvc` command is at work in this project. "
            "Wait until it has ended."
        ) from None
    except DvcException as error:
        raise SurroundingsError(
            f"DVC: must be able to read this project. Got: {' '.join(str(error).split())[:400]}. See `dvc status`."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without DVC's bars and advice, which are no part of a plan."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _plan(repo: Any) -> PipelinePlan:
    from dvc.repo.reproduce import get_active_graph, plan_repro
    from dvc.stage.decorators import rwlocked

    stages = [stage for stage in plan_repro(get_active_graph(repo.index.graph)) if stage.cmd]
    written = {out.fs_path for stage in stages for out in stage.outs}
    outside = [dep for stage in stages for dep in stage.deps if dep.fs_path not in written]
    absent = tuple(dict.fromkeys(str(dep) for dep in outside if dep.hash_info and not dep.exists))
    through = rwlocked(read=["deps", "outs"])(_Walk(repo, absent).through)  # LockError where a stage is being run
    return PipelinePlan(tuple(through(stage) for stage in stages), absent)


class _Walk:
    """From the first stage to the last. absent: paths of dependencies that are taken to be what dvc.lock says."""

    def __init__(self, repo: Any, absent: tuple[str, ...]) -> None:
        self._repo, self._absent = repo, absent
        self._after: dict[str, Any] = {}
        """Absolute path of an output -> DVC's object of it, with the hash it will have; None where nobody knows."""
        self._writer: dict[str, str] = {}

    def through(self, stage: Any) -> StagePlan:
        """What becomes of the next stage."""
        unknown = [] if stage.frozen else [dep for dep in stage.deps if self._after.get(dep.fs_path, dep) is None]
        why = [] if stage.frozen else self._why(stage)
        missing = self._missing(stage)
        if why and not any(one.hash_info for one in (*stage.outs, *stage.deps)):
            why, missing = ["never run here"], []
        if not why and not missing:
            outcome, outs = (MAY_RUN, []) if unknown else (CURRENT, stage.outs)
            why = [self._condition(unknown)] if unknown else []
        else:
            outs = [] if unknown else self._restored(stage, again=not why)
            outcome = RESTORED if outs else RUNS
        why += missing
        self._after |= {out.fs_path: None for out in stage.outs}
        self._writer |= {out.fs_path: stage.addressing for out in stage.outs}
        self._after |= {out.fs_path: out for out in outs}
        return StagePlan(stage.addressing, outcome, tuple(why), {str(out): _place(out, outcome) for out in outs})

    def _why(self, stage: Any) -> list[str]:
        """What is otherwise than in dvc.lock, above the stage's outputs."""
        found = []
        for dep in stage.deps:
            if dep.fs_path in self._after:
                known = self._after[dep.fs_path]
                found += [f"{dep} changed"] if known is not None and known.hash_info != dep.hash_info else []
            elif str(dep) not in self._absent and (status := dep.status()):
                found += causes.of_dependency(dep, status)
        return [*found, *(["its command in dvc.yaml"] if stage.changed_stage() else [])]

    def _missing(self, stage: Any) -> list[str]:
        """Outputs that are not as dvc.lock has them; where data is absent, none need be here."""
        status = {key: value for out in stage.outs for key, value in out.status().items()}
        gone = ("deleted", "not in cache")
        return causes.of_outputs({key: value for key, value in status.items() if not self._absent or value not in gone})

    def _restored(self, stage: Any, again: bool) -> list[Any]:
        """The outputs that DVC has in its cache for what the stage depends on now; nothing where it has none.

        As `dvc.stage.cache.StageCache.restore` finds them. again: whether they are those of dvc.lock, which are gone.
        """
        from dvc.exceptions import DvcException
        from dvc.stage.serialize import to_single_stage_lockfile

        cache = self._repo.stage_cache
        try:
            if not again:
                for dep in stage.deps:
                    self._note(dep)
            entry = to_single_stage_lockfile(stage) if again else cache._load(stage)
            cached = cache._create_stage(entry, wdir=stage.wdir) if entry else None
            return list(cached.outs) if cached is not None and cached.outs_cached() else []
        except (DvcException, OSError, AssertionError):  # it cannot be told without a file that is not here
            return []

    def _condition(self, unknown: list[Any]) -> str:
        if len(unknown) == 1:
            return f"if {unknown[0]} changes"
        *writers, last = dict.fromkeys(self._writer[dep.fs_path] for dep in unknown)
        return f"if an output of {' or '.join(filter(None, (', '.join(writers), last)))} changes"

    def _note(self, dep: Any) -> None:
        """Let DVC's object of a dependency, in this process, hold the hash that it will have."""
        if dep.fs_path in self._after:
            out = self._after[dep.fs_path]
            dep.hash_info, dep.meta = out.hash_info, out.meta
        elif str(dep) not in self._absent:
            dep.save()


def _place(out: Any, outcome: str) -> Path:
    here = Path(out.fs_path)
    return Path(out.cache_path) if outcome == RESTORED or not here.exists() else here
