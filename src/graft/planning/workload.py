"""What a stage's speed depends on, and how much there is for it to do."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.runtime.computing import numerics
from graft.runtime.cores import available

if TYPE_CHECKING:
    from graft.config.schema import Optimization, Params

LIBRARIES = ("tensorflow", "openvino")


@dataclass(frozen=True)
class Amount:
    """What there is to do: fewest where training may stop early, else as many as most. Files of `prepare`, forward
    passes of `extract`, steps of a training, examples of `evaluate`."""

    fewest: int
    most: int


def described(stage: str, params: Params) -> dict[str, Any]:
    """Everything that seconds for one of a stage's units depend on, this machine too."""
    backbone, extract, train, finetune = params.backbone, params.extract, params.train, params.finetune
    network = {
        "name": backbone.name,
        "width": backbone.width,
        "input": backbone.max_tokens if params.data.kind == "text" else backbone.input_size,
        "numerics": params.numerics,
    }
    cut = finetune.cut if finetune.enabled else None
    special: dict[str, dict[str, Any]] = {
        "prepare": {"kind": params.data.kind, "source": params.data.source},
        "extract": network
        | {"engine": extract.engine, "precision": extract.precision, "taps": extract.taps}
        | {"features": train.enabled, "cut": cut},
        "train": network
        | {"pooling": extract.pooling, "taps": extract.taps, "batch_size": train.batch_size, "enabled": train.enabled}
        | {
            "dtype_policy": train.dtype_policy,
            "head": train.head,
            "values": getattr(train.heads, train.head).model_dump(),
        },
        "finetune": network
        | {"cut": cut, "batch_size": finetune.batch_size, "batch_norm": finetune.batch_norm}
        | {"dtype_policy": finetune.dtype_policy},
        "evaluate": network | {"cut": cut},
    }
    return {"stage": stage, **special.get(stage, {}), **_machine()}


@cache
def _machine() -> dict[str, Any]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"processor": numerics.instruction_set("native", False), "cores": available(), **versions}


def steps(p: Optimization, n_train: int, epochs: int | None = None) -> Amount:
    """Steps of a training, as `training.fit` counts them. epochs: that were trained; None: as many as there may be."""
    in_epoch = p.steps_per_epoch or math.ceil(n_train / p.batch_size)
    total = p.steps if p.steps is not None else (p.epochs or 0) * in_epoch
    if epochs is not None:
        done = min(total, epochs * in_epoch)
        return Amount(done, done)
    patience = p.early_stopping_patience
    return Amount(total if patience is None else min(total, (patience + 1) * in_epoch), total)


def n_train(split: Path) -> int | None:
    """Examples that train, of what `prepare` wrote; None where it is not here."""
    if not split.is_file():
        return None
    with split.open(newline="") as file:
        return [row["split"] for row in csv.DictReader(file)].count("train")
