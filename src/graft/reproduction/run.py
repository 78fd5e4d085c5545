"""An original found, computed again and judged."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import graft
from graft.errors import NotJudgedError, listing
from graft.pipeline import layout, worktree
from graft.pipeline.worktree import Worktree
from graft.project import lock as project_lock
from graft.reproduction import again, bring, figures, judging, noise, objects, original, place, rebuild
from graft.reproduction.again import Again
from graft.reproduction.judging import Judged
from graft.reproduction.original import Original
from graft.runtime import environment
from graft.runtime.environment import Difference, Environment
from graft.runtime.progress import say
from graft.tracking import git
from graft.verdicts.words import Reproduced

TRAINED = ("train", "finetune", "evaluate")


@dataclass(frozen=True)
class Asked:
    """rebuilds: the original's environment. from_features: as recorded, as where photos are missing. keeps: the
    worktree."""

    rebuilds: bool = False
    from_features: bool = False
    keeps: bool = False


@dataclass(frozen=True)
class Reproduction:
    """environment: what is not as it was there; None where nothing says what it was. kept: where the worktree is."""

    original: Original
    environment: Sequence[Difference] | None
    stages: Sequence[Judged]
    kept: Path | None

    @property
    def verdict(self) -> Reproduced:
        """The worst of the stages that were judged; not comparable where the last was not: all others flow into it."""
        told: list[Reproduced] = [one.verdict for one in self.stages if one.verdict != Reproduced.NOT_COMPARABLE]
        if Reproduced.DIFFERENT in told or self.stages[-1].verdict != Reproduced.NOT_COMPARABLE:
            return figures.worst(told)
        return Reproduced.NOT_COMPARABLE


def run(name: str, project: Path, asked: Asked) -> Reproduction:
    """Raises NotJudgedError, and other kinds of GraftError, where there is nothing that could be judged."""
    found = original.find(name, project)
    say(f"{found.name}: commit {found.commit[:7]}{', and what was not committed' if found.diff else ''}")
    with worktree.at(project, found.commit, asked.keeps) as tree:
        place.set_up(found, tree, project)
        if not asked.rebuilds:
            _require_code(found, tree)
        python = rebuild.environment(found, tree) if asked.rebuilds else Path(sys.executable)
        differing = _differing(found, python, asked.rebuilds)
        tree = _with_python(tree, python)
        stages, left_out = _stages(found, tree, asked.from_features)
        bring.figures(found, tree)
        found = _with_evaluation(found, tree, project)
        done = again.run(tree, python, stages)
        judged = _judged(found, done, tree, left_out)
        return Reproduction(found, differing, judged, tree.folder if asked.keeps else None)


def _require_code(found: Original, tree: Worktree) -> None:
    """Of a project without graft's sources: the installed graft must be the one that its graft.lock names."""
    file = tree.folder / project_lock.FILE
    if file.is_file() and (changed := project_lock.changed(file)):
        raise NotJudgedError(
            f"{found.name}: must be computed by the graft that its {project_lock.FILE} names, "
            f"{project_lock.read(file).get('version', 'of no version')}. The installed one, {graft.__version__}, has "
            f"other code for {listing(changed)}. Install that one, or use --environment."
        )


def _differing(found: Original, python: Path, rebuilt: bool) -> list[Difference] | None:
    """What is not as it was; said before anything is computed."""
    if found.environment is None:
        say("note: nothing says which environment the original had; a difference may be that of versions")
        return None
    numerics = original.numerics_of(found)
    here: Environment = environment.of_python(python, numerics) if rebuilt else environment.here(numerics)
    differing = environment.differences(found.environment, here)
    if differing:
        advice = "" if rebuilt else " `--environment` rebuilds its packages."
        say(f"note: this is not the original's environment: {'; '.join(map(str, differing))}.{advice}")
    if found.environment.instruction_set is None:
        say("note: of the original's environment only the lock file is known: neither processor nor threads")
    return differing


def _with_python(tree: Worktree, python: Path) -> Worktree:
    """What stages are started by comes from this environment."""
    path = f"{python.parent}{os.pathsep}{tree.environment['PATH']}"
    return replace(tree, environment=tree.environment | {"PATH": path})


def _stages(found: Original, tree: Worktree, from_features: bool) -> tuple[Sequence[str], str]:
    """Which stages run, and why the others do not; the features are brought where they are needed."""
    data = place.data_path(tree.folder)
    if data.exists() and not from_features:
        return layout.STAGES, ""
    reason = "--from-features" if from_features else f"the examples are not at {data.relative_to(tree.folder)}"
    say(f"{' and '.join(bring.COMPUTED_FROM_PHOTOS)}: not judged ({reason}); their recorded outputs are used")
    bring.features(found, tree)
    return TRAINED, reason


def _with_evaluation(found: Original, tree: Worktree, project: Path) -> Original:
    """The original's figures: of the run, of DVC's cache, or the few that git holds."""
    if found.evaluation is not None:
        return found
    paths = place.paths(tree.folder)
    file = objects.file(tree.cache, found.stages["evaluate"].outs.get(str(paths["metrics"]), ""))
    if file is not None:
        return replace(found, evaluation=json.loads(file.read_text(encoding="utf-8")))
    committed = git.committed(project, paths["summary"], found.commit) if "summary" in paths else None
    return replace(found, summary=json.loads(committed)) if committed else found


def _judged(found: Original, done: Again, tree: Worktree, left_out: str) -> list[Judged]:
    """Seed noise is measured where a result is further off than rounding explains."""
    judged = judging.judge(found, done, tree, {}, left_out)
    off = [one.stage for one in judged if one.stage in TRAINED and one.verdict == Reproduced.DIFFERENT]
    if not off:
        return judged
    measured = noise.measured(tree, done, any(stage != "train" for stage in off) and _is_finetuned(done))
    return judging.judge(found, done, tree, measured, left_out) if measured else judged


def _is_finetuned(done: Again) -> bool:
    return done.evaluation is not None and list(done.evaluation)[-1:] != ["head"]
