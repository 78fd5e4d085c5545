"""The head-only and the fine-tuned model are judged side by side, on validation and test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.data import catalogue, pixels, split
from graft.data.decode import Resizing
from graft.data.sources.base import SplitName
from graft.evaluation import metrics, plots, predictions
from graft.features import engines, store
from graft.models import saving
from graft.progress import track

if TYPE_CHECKING:
    from graft.params import BackboneParams, DataParams, EvaluateParams

JUDGED: tuple[SplitName, ...] = ("validation", "test")


def run(
    data: DataParams,
    backbone: BackboneParams,
    engine: str,
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
    """Write metrics (model -> split -> metric), confusion of the final model on test, pictures, predictions."""
    images = catalogue.read(catalogue_path)
    used, classes = images.used, images.classes
    rows = {
        name: chosen for name, chosen in split.read(split_path, used).rows.items() if name in JUDGED and len(chosen)
    }
    targets = split.targets(used, classes)
    curves = {stage: pd.read_csv(path) for stage, path in histories.items()}
    curves = {stage: history for stage, history in curves.items() if len(history)}

    probabilities = {"head": _on_features(features_path, used, head_path, rows)}
    if "finetune" in curves:
        resizing = Resizing(backbone.input_size, backbone.resize, backbone.interpolation)
        forward = engines.build(engine, saving.load(model_path))
        probabilities["finetuned"] = {
            name: np.concatenate(
                [
                    forward(batch)
                    for batch in track(
                        pixels.batches(data.source, Path(data.path), used.iloc[chosen], resizing, evaluate.batch_size),
                        len(chosen),
                        f"predicting {name}",
                        len,
                    )
                ]
            )
            for name, chosen in rows.items()
        }

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
    table = pd.concat(parts, ignore_index=True)
    predictions.write(table, predictions_path)

    last_split: SplitName = "test" if "test" in rows else "validation"
    final = list(probabilities)[-1]
    last = table[(table["model"] == final) & (table["split"] == last_split)]
    plots.write_confusion(list(last["prediction"]), list(last["label"]), confusion_path)
    on_shown = {f"{model}, {last_split}": splits[last_split] for model, splits in judged.items()}
    for picture, draw in plots.PLOTS.items():
        plots.save(draw(curves, on_shown), pictures_path / f"{picture}.png")


def _on_features(
    features_path: Path, used: pd.DataFrame, head_path: Path, rows: dict[SplitName, np.ndarray]
) -> dict[SplitName, np.ndarray]:
    """The head alone, on cached features: no forward pass of the backbone."""
    features = store.load(features_path, used["sha256"]).array
    head = saving.load(head_path)
    return {
        name: np.asarray(head.predict(np.asarray(features[chosen], np.float32), batch_size=1024, verbose=0))
        for name, chosen in rows.items()
    }


def _write_json(values: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
