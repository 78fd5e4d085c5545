"""The head-only and the fine-tuned model are judged side by side, on validation and test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.data import catalogue, split
from graft.data.sources.base import SplitName
from graft.errors import StaleError
from graft.evaluation import metrics, plots, predictions
from graft.features import store
from graft.models import assemble, saving

if TYPE_CHECKING:
    import keras

    from graft.params import EvaluateParams

AT_A_TIME = 64
"""Images in one forward pass."""

JUDGED: tuple[SplitName, ...] = ("validation", "test")


def run(
    evaluate: EvaluateParams,
    catalogue_path: Path,
    split_path: Path,
    features_path: Path,
    head_path: Path,
    model_path: Path,
    histories: dict[str, Path],
    metrics_path: Path,
    confusion_path: Path,
    pictures_path: Path,
    predictions_path: Path,
) -> None:
    """Write metrics (model -> split -> metric), confusion of the final model on test, pictures, predictions.

    Where nothing is held out, models have no split, tables no row, and the curves are the only picture.
    """
    images = catalogue.read(catalogue_path)
    used, classes = images.used, images.classes
    rows = {
        name: chosen for name, chosen in split.read(split_path, used).rows.items() if name in JUDGED and len(chosen)
    }
    targets = split.targets(used, classes)
    curves = {stage: pd.read_csv(path) for stage, path in histories.items()}
    curves = {stage: history for stage, history in curves.items() if len(history)}

    features = store.load(features_path, used["sha256"])
    probabilities = {"head": _predicted(saving.load(head_path), features.array, rows)}
    if "finetune" in curves:
        if features.boundary is None or features.meta.cut is None:
            raise StaleError(f"{features_path}: holds no activations at finetune.cut. Run `dvc repro`.")
        above = assemble.above(saving.load(model_path), features.meta.cut)
        probabilities["finetuned"] = _predicted(above, features.boundary, rows)

    judged = {
        model: {
            name: metrics.Judged(
                by_split[name],
                targets[chosen],
                classes,
                evaluate.top_k,
                evaluate.calibration_bins,
                evaluate.confidence,
            )
            for name, chosen in rows.items()
        }
        for model, by_split in probabilities.items()
    }
    _write_json({m: {s: metrics.compute(j) for s, j in splits.items()} for m, splits in judged.items()}, metrics_path)
    parts: list[pd.DataFrame] = []
    for model, by_split in probabilities.items():
        for name, chosen in rows.items():
            shown = used.iloc[chosen]
            parts.append(
                predictions.table(model, name, list(shown["path"]), list(shown["label"]), by_split[name], classes)
            )
    table = pd.concat(parts, ignore_index=True) if parts else predictions.nothing(classes)
    predictions.write(table, predictions_path)

    last_split: SplitName = "test" if "test" in rows else "validation"
    final = list(probabilities)[-1]
    last = table[(table["model"] == final) & (table["split"] == last_split)]
    plots.write_confusion(list(last["prediction"]), list(last["label"]), confusion_path)
    on_shown = {
        f"{model}, {last_split}": splits[last_split] for model, splits in judged.items() if last_split in splits
    }
    for picture, draw in plots.PLOTS.items():
        figure = draw(curves, on_shown)
        if figure is not None:
            plots.save(figure, pictures_path / f"{picture}.png")


def _predicted(model: keras.Model, array: np.ndarray, rows: dict[SplitName, np.ndarray]) -> dict[SplitName, np.ndarray]:
    """What a model says of the images as they are, on cached features or activations: no image is decoded again."""
    return {
        name: np.concatenate(
            [
                model.predict_on_batch(store.plain(array, chosen[start : start + AT_A_TIME]))
                for start in range(0, len(chosen), AT_A_TIME)
            ]
        )
        for name, chosen in rows.items()
    }


def _write_json(values: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
