"""How many labels does each way need? Accuracy on validation images with so many training images of each class.

scratch      the same network with random weights, all of it trained on pixels; none for texts
frozen head  the head of params.yaml on cached features
fine-tuned   from that head, as `finetune` in params.yaml says, on cached activations

The training images of fewer labels are a part of those of more. Another seed draws other images, another head and
another random network. Test images are neither read nor judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from graft.backbones import encoders, vision
from graft.backbones.table import BACKBONES
from graft.errors import TrainingError
from graft.examples import dataset
from graft.examples.split import UNUSED
from graft.examples.splitting.limits import few_shot
from graft.models import solved
from graft.repetition import again, plans
from graft.study import compute

if TYPE_CHECKING:
    from graft.config.schema import Optimization, Params
    from graft.pipeline.layout import Paths

ALL = "all"
"""As a number of labels of each class: all training images there are."""

SCRATCH, HEAD, FINETUNED = "scratch", "frozen head", "fine-tuned"
MODEL_OF = {HEAD: ("head", "train"), FINETUNED: ("finetuned", "finetune"), SCRATCH: ("finetuned", "finetune")}
"""A way -> the name of its model, and the stage that trained it last."""

P = TypeVar("P", bound="Optimization")


@dataclass(frozen=True)
class Recipe:
    """What params.yaml does not say. min_steps: of every training. The others: of a network from scratch, with the
    first `scratch_seeds` of the seeds."""

    min_steps: int
    scratch_seeds: int
    scratch_rate: float
    scratch_epochs: int


@dataclass(frozen=True)
class Trial:
    """One training, or head and fine-tuning. shots: a number, or ALL. images: that train. per_class: their mean."""

    plan: plans.Plan
    shots: str
    ways: tuple[str, ...]
    images: int
    per_class: float


@dataclass(frozen=True)
class Point:
    """What one way is worth with so many labels, on validation images, and what it cost; a row of the table.

    images: that train; images_per_class: their mean. steps, steps_per_epoch, kept_epoch (0: as fine-tuning began),
    examples_seen: of its last training. multiply_adds: in compute.UNIT. cpu_seconds: of the training stages.
    """

    shots: str
    images_per_class: float
    images: int
    way: str
    seed: int
    accuracy: float
    log_loss: float
    steps: int
    steps_per_epoch: int
    kept_epoch: int
    examples_seen: int
    multiply_adds: float
    cpu_seconds: float


def trials(
    params: Params, paths: Paths, shots: Sequence[int | None], seeds: Sequence[int], recipe: Recipe
) -> list[Trial]:
    """What to train, seed by seed, fewest labels first. shots: None for all.

    A number that no class has more training images than would be all of them, and is left out. Raises TrainingError
    where the split has no validation images to judge by, StaleError where the files of `prepare` are of different
    passes.
    """
    used, copies = plans.splittable(paths)
    table = pd.read_csv(paths.split, dtype=str, keep_default_na=False)
    whole = pd.Series(table["split"].to_numpy(), used.index).replace("test", UNUSED)
    _require_validation(whole)
    counts = used.loc[whole == "train", "label"].value_counts()
    found = []
    for seed, n in product(seeds, shots):
        if n is not None and n >= counts.max():
            continue
        sides = whole if n is None else few_shot(used, copies, whole, n, seed)
        named = ALL if n is None else str(n)
        images = int((sides == "train").sum())
        for ways, changed in _ways(params, recipe, seed, images, int(counts.sum())):
            if ways == (SCRATCH,) and seed not in seeds[: recipe.scratch_seeds]:
                continue
            name = f"{named} of each class, seed {seed}, {' and '.join(ways)}"
            plan = plans.Plan(name, changed, table.assign(split=sides.to_numpy()), extracts=ways == (SCRATCH,))
            found.append(Trial(plan, named, ways, images, images / len(counts)))
    return found


def _require_validation(sides: pd.Series) -> None:
    if not (sides == "validation").any():
        raise TrainingError(
            "data.split: must hold validation examples out, for the study to judge by: test ones are for the end. Got "
            "none. Give data.split.fractions.validation a share, and run `dvc repro`."
        )


def has_layers(params: Params) -> bool:
    """Whether there is a network to train: a head on pixels is itself the network from scratch."""
    return _is_of_files(params) or BACKBONES[params.backbone.name].is_network


def has_scratch(params: Params) -> bool:
    """Whether the network can begin with random weights: one of KerasHub's is what its files are."""
    return has_layers(params) and not _is_of_files(params)


def _is_of_files(params: Params) -> bool:
    return encoders.is_text(params.backbone.name) or vision.is_vision(params.backbone.name)


def _ways(
    params: Params, recipe: Recipe, seed: int, images: int, all_images: int
) -> Iterator[tuple[tuple[str, ...], Params]]:
    """What can be trained, and the params of each: head and fine-tuning are one training after the other."""
    ways = ((HEAD,) if params.train.enabled else ()) + ((FINETUNED,) if params.finetune.enabled else ())
    train = lengthened(params.train, images, all_images, recipe.min_steps)
    finetune = lengthened(params.finetune, images, all_images, recipe.min_steps)
    yield ways, params.model_copy(update={"seed": seed, "train": train, "finetune": finetune})
    if has_scratch(params):
        yield (SCRATCH,), from_scratch(params, recipe, seed, images, all_images)


def from_scratch(params: Params, recipe: Recipe, seed: int, images: int, all_images: int) -> Params:
    """The same network with weights drawn from `seed`, trained from its input on as `finetune` says but for rate and
    epochs, with its BatchNorm learning."""
    whole = {
        "enabled": True, "cut": "input", "batch_norm": "learning", "interpolate": 1.0, "temperature": "none",
        "learning_rate": recipe.scratch_rate, "epochs": recipe.scratch_epochs, "steps": None, "steps_per_epoch": None,
    }  # fmt: skip
    finetune = lengthened(params.finetune.model_copy(update=whole), images, all_images, recipe.min_steps)
    random = {"weights": "random", "weights_sha256": None, "random_seed": seed}
    return params.model_copy(
        update={
            "seed": seed,
            "backbone": params.backbone.model_copy(update=random),
            "extract": params.extract.model_copy(update={"taps": "none"}),
            "train": params.train.model_copy(update={"enabled": False}),
            "finetune": finetune,
        }
    )


def lengthened(p: P, images: int, all_images: int, min_steps: int) -> P:
    """The recipe with `min_steps` steps at least, and no more epochs than it has: of few images, an epoch is several
    passes. A recipe by steps is judged as often as it is with all images."""
    if p.steps is not None:
        every = p.steps_per_epoch or math.ceil(all_images / p.batch_size)
        return p.model_copy(update={"steps": max(p.steps, min_steps), "steps_per_epoch": every})
    every = p.steps_per_epoch or math.ceil(images / p.batch_size)
    return p.model_copy(update={"steps_per_epoch": max(every, math.ceil(min_steps / (p.epochs or 1)))})


OVERHEAD = 0.1
"""Multiply-adds, in compute.UNIT, that take about as long as what each training costs beside its steps."""


def run(params: Params, paths: Paths, chosen: Sequence[Trial]) -> Iterator[Point]:
    """Train and judge one trial after the other, with a line and the time left for each. Raises what stages raise."""
    n_classes = len(dataset.read(paths.catalogue, paths.split).classes)
    network = compute.of(params, paths, n_classes)
    work = [_expected(trial, network) for trial in chosen]
    for trial, trained in zip(chosen, again.each([one.plan for one in chosen], paths, work), strict=True):
        for way in trial.ways:
            yield _point(trial, trained, way, network)


def _expected(trial: Trial, network: compute.Network) -> float:
    """Work of a trial, to tell the time left by: its steps' multiply-adds, and what each training costs beside them."""
    p = trial.plan.params.finetune
    if not p.enabled:
        return OVERHEAD
    steps = p.steps or (p.epochs or 0) * (p.steps_per_epoch or 0)
    seen = compute.examples_seen(steps, trial.images, p.batch_size)
    return OVERHEAD + (network.scratch(seen) if SCRATCH in trial.ways else network.finetuned(0, 0, seen))


def _point(trial: Trial, trained: again.Trained, way: str, network: compute.Network) -> Point:
    model, stage = MODEL_OF[way]
    history = trained.histories[stage]
    seen = {name: _seen(trial, trained, name) for name in ("train", "finetune")}
    costs = {
        HEAD: lambda: network.frozen_head(trial.images, seen["train"]),
        FINETUNED: lambda: network.finetuned(trial.images, seen["train"], seen["finetune"]),
        SCRATCH: lambda: network.scratch(seen["finetune"]),
    }
    told = trained.metrics[model]["validation"]
    return Point(
        shots=trial.shots,
        images_per_class=round(trial.per_class, 2),
        images=trial.images,
        way=way,
        seed=trial.plan.params.seed,
        accuracy=told["accuracy"],
        log_loss=told["log_loss"],
        steps=int(history["steps"].iloc[-1]),
        steps_per_epoch=int(history.loc[history["epoch"] == 1, "steps"].iloc[0]),
        kept_epoch=int(history.loc[history["best"] == 1, "epoch"].iloc[0]),
        examples_seen=seen[stage],
        multiply_adds=costs[way](),
        cpu_seconds=round(trained.cpu_seconds["train"] + (0 if way == HEAD else trained.cpu_seconds["finetune"]), 2),
    )


def _seen(trial: Trial, trained: again.Trained, stage: str) -> int:
    """Examples that a stage's steps were made of: none where it did not run, or solved for the head."""
    params, history = trial.plan.params, trained.histories[stage]
    if not len(history) or (stage == "train" and params.train.head in solved.SOLVERS):
        return 0
    return compute.examples_seen(int(history["steps"].iloc[-1]), trial.images, getattr(params, stage).batch_size)


def table(points: Sequence[Point]) -> pd.DataFrame:
    """A row for each point, columns as its fields."""
    return pd.DataFrame([vars(point) for point in points])


def means(points: pd.DataFrame) -> pd.DataFrame:
    """points: of `table`. A row per number of labels and way, in that order: means over the seeds, lowest and highest
    accuracy, and how many seeds."""
    grouped = points.groupby(["shots", "way"], sort=False)
    found = grouped.mean(numeric_only=True).drop(columns="seed")
    found["lowest"], found["highest"] = grouped["accuracy"].min(), grouped["accuracy"].max()
    found["seeds"] = grouped.size()
    order = list(MODEL_OF)
    return found.reset_index().sort_values(
        ["images", "way"], key=lambda one: one.map(order.index) if one.name == "way" else one
    )
