"""A new head is trained on the cached features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graft.data import catalogue, split
from graft.features import store
from graft.models import heads, saving
from graft.training.views import fit_to

if TYPE_CHECKING:
    from graft.params import TrainParams
    from graft.training.fit import OnEpoch


def run(
    train: TrainParams,
    seed: int,
    catalogue_path: Path,
    split_path: Path,
    features_path: Path,
    head_path: Path,
    history_path: Path,
    on_epoch: OnEpoch,
) -> None:
    """Write the head (its best epoch) and the history."""
    images = catalogue.read(catalogue_path)
    sides = split.read(split_path, images.used)
    targets = split.targets(images.used, images.classes)
    features = store.load(features_path, images.used["sha256"])

    values = getattr(train.heads, train.head).model_dump()
    head = heads.build(train.head, values, features.meta.shape[2:], len(images.classes), seed)

    history = fit_to(features.array, sides, targets, head, train, seed, len(images.classes), on_epoch)
    saving.save(head, head_path, store.plain(features.array, sides.rows["train"][:32]))
    history_path.parent.mkdir(parents=True, exist_ok=True)
    history.to_csv(history_path, index=False, lineterminator="\n")
