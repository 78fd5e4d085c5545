"""A verdict for each stage, the first whose bytes diverge, and what differs: data, parameters, code, inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from graft.config.schema import flattened
from graft.errors import listing
from graft.pipeline import layout
from graft.pipeline.lock import Recorded
from graft.pipeline.worktree import Worktree
from graft.reproduction import figures, objects, place
from graft.reproduction.again import Again
from graft.reproduction.figures import Figure
from graft.reproduction.original import Original
from graft.verdicts.words import Reproduced

CODE = ("src/", "graft.lock")
"""How dependencies begin that are graft's own code, in its repository and in a project of `graft init`."""

SHOWN = 3
"""Names of a kind that a sentence lists."""

Noise = Mapping[str, Mapping[str, float]]
"""model -> figure -> how far two seeds of it lie apart."""


@dataclass(frozen=True)
class Judged:
    """outs: paths of other bytes. differs: what of the stage's inputs is not as it was, a phrase each.

    figures: of the model that tells of the stage, where its bytes are others. reason: why it was not judged.
    """

    stage: str
    verdict: Reproduced
    outs: Sequence[str] = ()
    differs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    seconds: float | None = None
    reason: str = ""


def judge(original: Original, again: Again, tree: Worktree, noise: Noise, left_out: str) -> list[Judged]:
    """Every stage, in order. left_out: why a stage was not tried that neither ran nor failed."""
    return [_judged(stage, original, again, tree, noise, left_out) for stage in layout.STAGES]


def first_diverging(judged: Sequence[Judged]) -> Judged | None:
    """The first stage that wrote other bytes; None where all are the same."""
    return next((one for one in judged if one.outs), None)


def _judged(stage: str, original: Original, again: Again, tree: Worktree, noise: Noise, left_out: str) -> Judged:
    if stage not in again.stages:
        return Judged(stage, Reproduced.NOT_COMPARABLE, reason=_why_not(stage, again, left_out))
    there, here = original.stages[stage], again.stages[stage]
    outs = sorted(path for path in there.outs | here.outs if there.outs.get(path) != here.outs.get(path))
    differs = _differs(there, here, original.stages, tree)
    seconds = again.seconds[stage]
    if not outs:
        return Judged(stage, Reproduced.BIT_IDENTICAL, (), differs, (), seconds)
    if stage == "prepare":
        return Judged(stage, Reproduced.DIFFERENT, outs, differs, (), seconds)
    if stage == "extract":
        return Judged(stage, _features(there, outs, tree), outs, differs, (), seconds)
    compared = _figures(stage, original, again, noise)
    reason = "" if compared else "the original's figures are not at hand"
    return Judged(stage, figures.worst([one.verdict for one in compared]), outs, differs, compared, seconds, reason)


def _why_not(stage: str, again: Again, left_out: str) -> str:
    if again.failed is None or layout.STAGES.index(stage) < layout.STAGES.index(again.failed):
        return left_out
    return "it failed, for the reason above" if stage == again.failed else f"{again.failed} failed before it"


def _features(there: Recorded, outs: Sequence[str], tree: Worktree) -> Reproduced:
    found = [figures.features(objects.files(tree.cache, there.outs.get(out, "")), tree.folder / out) for out in outs]
    return figures.worst(found)


def _figures(stage: str, original: Original, again: Again, noise: Noise) -> list[Figure]:
    """None where the figures of one of the two are not known."""
    model = figures.model_of(stage, again.evaluation or {})
    if model is None or again.evaluation is None:
        return []
    there = original.evaluation
    if there is None and original.summary is not None and model == list(again.evaluation)[-1]:
        there = figures.of_summary(original.summary, model)
    return figures.compare(there or {}, again.evaluation, model, noise.get(model, {}))


def _differs(there: Recorded, here: Recorded, before: Mapping[str, Recorded], tree: Worktree) -> list[str]:
    """Parameters with both values, then data and code by path, then which stages' outputs."""
    first, second = ({}, {}) if None in (there.params, here.params) else (_leaves(there), _leaves(here))
    changed = sorted(key for key in first | second if first.get(key) != second.get(key))
    code = [key for key in changed if key.startswith(CODE)]
    found = [
        f"parameter {key}: {first.get(key)!r} there, {second.get(key)!r} here" for key in changed if key not in code
    ]
    deps = [] if there.deps is None or here.deps is None else sorted(there.deps | here.deps)
    other = [path for path in deps if (there.deps or {}).get(path) != (here.deps or {}).get(path)]
    made_by = {path: stage for stage, one in before.items() for path in one.outs}
    code += [path for path in other if path.startswith(CODE)]
    data = [path for path in other if not path.startswith(CODE) and path not in made_by]
    found += [f"data {path}{_examples(before['prepare'], tree)}" for path in data]
    found += [f"code {listing(code, SHOWN)}"] if code else []
    stages = [stage for stage in layout.STAGES if stage in {made_by.get(path) for path in other}]
    found += [f"outputs of {', '.join(stages)}"] if stages else []
    return found


def _leaves(one: Recorded) -> dict[str, Any]:
    """`{"train": {"epochs": 3}}` -> `{"train.epochs": 3}`; keys of params.yaml that have dots already keep them."""
    return flattened(one.params or {})


def _examples(prepare: Recorded, tree: Worktree) -> str:
    """Which examples have other bytes, where both catalogues are at hand: ` (a.png, and 2 more)`."""
    catalogue = place.paths(tree.folder)["catalogue"]
    there = objects.file(tree.cache, prepare.outs.get(str(catalogue), ""))
    here = tree.folder / catalogue
    if there is None or not here.is_file():
        return ""
    first, second = (_sha256s(file) for file in (there, here))
    changed = sorted(path for path in first | second if first.get(path) != second.get(path))
    return f" ({listing(changed, SHOWN)})" if changed else ""


def _sha256s(catalogue: Path) -> dict[str, str]:
    table = pd.read_csv(catalogue, dtype=str, keep_default_na=False)
    return dict(zip(table["path"], table["sha256"], strict=True)) if {"path", "sha256"} <= set(table) else {}
