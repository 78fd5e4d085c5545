"""Every candidate of one or several networks, from the images to the choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.backbones.vision import is_vision
from graft.errors import StaleError
from graft.examples import catalogue, dataset, split
from graft.examples.sources import SOURCES
from graft.inputs.batches import Task
from graft.probing import judging, passes, tuning
from graft.probing.imagenet import published
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.examples.dataset import Dataset
    from graft.pipeline.layout import Paths


def run(every: Sequence[Params], paths: Paths, epochs: int = 0) -> tuple[judging.Choice, list[tuning.Tuned]]:
    """every: params.yaml with the backbone of each candidate. The images are those that `prepare` split.

    epochs: of the fine-tunes of the best candidate's network, the best of which is first; none for 0.

    Raises StaleError where `prepare` has not run, and what the network and the images raise.
    """
    for path in (paths.catalogue, paths.split):
        if not path.exists():
            raise StaleError(f"{path}: must be there, as `graft prepare` writes it. Run `dvc repro prepare`.")
    data = without_test(dataset.read(paths.catalogue, paths.split))
    tasks = [Task(*pair) for pair in zip(data.used["path"], data.used["sha256"], strict=True)]
    found, by_name = [], {}
    for params in every:
        read = catalogue.reader(SOURCES[params.data.source], Path(params.data.path))
        passed = passes.run(params, tasks, read)
        say(
            f"{name_of(params)}: {passed.computed} of {len(tasks)} {params.data.kind}s computed, the others known; "
            f"{len(passed.taps)} layers to judge"
        )
        found += judging.judged(name_of(params), _on_imagenet(params), passed, data)
        by_name[name_of(params)] = params, passed, read
    choice = judging.choose(found)
    if not epochs:
        return choice, []
    params, passed, read = by_name[choice.best.network]
    ends = passed.of(len(passed.taps) - 1)
    return choice, tuning.run(params, epochs, passed.taps, ends, data, tasks, read)


def _on_imagenet(params: Params) -> float | None:
    """Published accuracy of the network, where its weights are those of ImageNet."""
    backbone = params.backbone
    return published(backbone.name, backbone.width) if backbone.weights == "imagenet" else None


def without_test(data: Dataset) -> Dataset:
    """The training and validation images alone, so that no test image is even read."""
    sides = data.sides.rows
    kept = np.union1d(sides["train"], sides["validation"])
    rows = {name: np.searchsorted(kept, np.intersect1d(own, kept)) for name, own in sides.items()}
    used = data.used.iloc[kept].reset_index(drop=True)
    return dataset.Dataset(used, data.classes, data.targets[kept], split.Split(rows, data.sides.weights[kept]))


def name_of(params: Params) -> str:
    """MobileNetV2 0.35 at 96 px; Bert of minilm, the name of a folder or preset; ViT of vit-base at 224 px"""
    if params.data.kind == "text":
        return f"{params.backbone.name} of {Path(params.backbone.weights).name}"
    width = "" if params.backbone.width is None else f" {params.backbone.width:g}"
    if is_vision(params.backbone.name):
        width = f" of {Path(params.backbone.weights).name}"
    return f"{params.backbone.name}{width} at {params.backbone.input_size} px"
