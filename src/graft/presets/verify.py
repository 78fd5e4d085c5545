"""Whether presets give what is claimed of them: each is run in a clean worktree of the last commit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from graft.backbones import encoders, vision
from graft.backbones.table import get, keras_models
from graft.evaluation import summary
from graft.pipeline import layout, worktree
from graft.presets import claims, files
from graft.project import template
from graft.verdicts import reproduced
from graft.verdicts.words import NOT_COMPARABLE, Reproduced

KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
"""Values of data.source that Keras downloads."""


@dataclass(frozen=True)
class Result:
    """What became of a claim. got, difference: None where the preset could not be run, for `reason`."""

    preset: str
    metric: str
    expected: float
    got: float | None
    difference: float | None
    tolerance: float
    verdict: Reproduced
    reason: str = ""


def lacking(preset: files.Preset, project: Path, data: Path | None = None) -> str | None:
    """Why a preset cannot be run here: its data, or a file or folder of weights, are not here; None where it can."""
    wanted = {"data": _data(preset, project, data), "weights": _weights(preset, project)}
    for what, path in wanted.items():
        if path is not None and not path.exists():
            return f"its {what} are not at {path}. {preset.about.get('Needs', '')}".strip()
    return None


def download(preset: files.Preset, project: Path, data: Path | None = None) -> str | None:
    """What Keras would download for a preset; None where all is here, or cannot be downloaded."""
    source, weights = preset.values["data"]["source"], preset.values["backbone"]["weights"]
    path = _data(preset, project, data)
    name = preset.values["backbone"]["name"]
    if encoders.is_text(name) or vision.is_vision(name):  # of a folder, which `lacking` looks for
        return None
    row = get(name)
    home = keras_models().parent
    wanted = []
    if source in KERAS_DATASETS and path.is_dir() and not (path / "train").is_dir():
        wanted += [] if any((home / "datasets").glob(f"{source}*")) else [f"the data set {source}"]
    if weights == "imagenet":
        wanted += [] if any(keras_models().glob(row.weights_glob)) else [f"ImageNet weights of {row.name}"]
    return " and ".join(wanted) or None


def run(name: str, project: Path, data: Path | None = None, fresh: bool = False) -> list[Result]:
    """A result for each claim. data: where the images are, if not where the preset says.

    Raises GraftError where the project is under no version control.
    """
    preset, expected = files.get(name), claims.read()[name]
    reason = lacking(preset, project, data)
    if reason is not None:
        return [_not_run(name, claim, reason) for claim in expected.claims]
    with worktree.clean(project, fresh) as (place, environment):
        values = {} if _is_tracked(preset, place) and data is None else {"data.path": str(_data(preset, project, data))}
        if (weights := _weights(preset, project)) is not None:
            values["backbone.weights"] = str(weights)
        (place / files.PARAMETERS).write_text(template.replaced(preset.text, values), encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=place, env=environment, check=False, stdout=2)
        if done.returncode != 0:
            reason = "`dvc repro` failed, for the reason above"
            return [_not_run(name, claim, reason) for claim in expected.claims]
        paths = layout.read(place / layout.FILE)
        judged = json.loads((place / paths.metrics).read_text())
        card = json.loads((place / paths.card).read_text())
    found = summary.figures(judged, summary.shipped(judged))
    same = expected.model_sha256 is not None and card["weights_sha256"] == expected.model_sha256
    return [_judged(name, claim, found.get(claim.metric), same) for claim in expected.claims]


def _judged(name: str, claim: claims.Claim, got: float | None, same_bytes: bool) -> Result:
    if got is None:
        return _not_run(name, claim, f"the run has no {claim.metric}")
    verdict = reproduced.judge(claim.value, got, claim.tolerance, claim.seed_noise, same_bytes)
    return Result(name, claim.metric, claim.value, got, got - claim.value, claim.tolerance, verdict)


def _not_run(name: str, claim: claims.Claim, reason: str) -> Result:
    verdict = Reproduced(NOT_COMPARABLE)
    return Result(name, claim.metric, claim.value, None, None, claim.tolerance, verdict, reason)


def _is_tracked(preset: files.Preset, place: Path) -> bool:
    return (place / str(preset.values["data"]["path"])).exists()


def _data(preset: files.Preset, project: Path, data: Path | None) -> Path:
    return (project / (data or preset.values["data"]["path"])).resolve()


def _weights(preset: files.Preset, project: Path) -> Path | None:
    """Of a file or folder, which git does not track; None where they have a name."""
    weights = str(preset.values["backbone"]["weights"])
    return (project / weights).resolve() if "/" in weights else None
