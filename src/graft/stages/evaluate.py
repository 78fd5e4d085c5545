"""The head-only and the fine-tuned model are judged side by side, on validation and test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.evaluation import metrics, plots, predictions, summary, temperature
from graft.examples import dataset, pixels
from graft.examples.sources.base import SplitName
from graft.features import store
from graft.models import assemble, card, saving
from graft.training import history

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

JUDGED: tuple[SplitName, ...] = ("validation", "test")


def run(params: Params, paths: Paths) -> None:
    """Write metrics (model -> split -> metric), the few of them that runs are compared by, predictions, pictures, and
    the final model's confusion on test.

    Where nothing is held out, models have no split, tables no row, and the curves are the only picture.
    """
    data = dataset.read(paths.catalogue, paths.split)
    judged = judge(params, paths, data, card.read(paths.card).get("temperature"))
    curves = {stage: history.read(path) for stage, path in paths.histories.items()}
    curves = {stage: curve for stage, curve in curves.items() if len(curve)}
    found = metrics.compute_all(judged)
    _write_json(found, paths.metrics)
    _write_json(summary.few(found), paths.summary)
    predictions.write(_tables(judged, data), paths.predictions)

    final = list(judged)[-1]
    last_split: SplitName = "test" if "test" in judged[final] else "validation"
    last = judged[final].get(last_split)
    names = np.asarray(data.classes, dtype=object)
    said, true = (names[last.predicted], names[last.targets]) if last else ([], [])
    plots.write_confusion(list(said), list(true), paths.confusion)
    on_shown = {
        f"{model}, {last_split}": splits[last_split] for model, splits in judged.items() if last_split in splits
    }
    for picture, draw in plots.PLOTS.items():
        figure = draw(curves, on_shown)
        if figure is not None:
            plots.save(figure, paths.pictures / f"{picture}.png")


def judge(
    params: Params, paths: Paths, data: dataset.Dataset, divisor: float | None
) -> dict[str, dict[SplitName, metrics.Judged]]:
    """model -> split -> what it says of the images held out there; splits without images are left out.

    divisor: the temperature of the model that ships, which is the last; None where it has none.
    """
    p = params.evaluate
    rows = {name: chosen for name, chosen in data.sides.rows.items() if name in JUDGED and len(chosen)}
    models = _models(params, paths, data)
    ships = list(models)[-1]

    def said(model: str, chosen: np.ndarray) -> np.ndarray:
        probabilities = dataset.predicted(*models[model], chosen)
        # The head's own file is as it was trained.
        return temperature.divided(probabilities, divisor) if divisor and model == ships == "head" else probabilities

    return {
        model: {
            name: metrics.Judged(
                said(model, chosen),
                data.targets[chosen],
                data.classes,
                p.top_k,
                p.calibration_bins,
                p.confidence,
                divisor if model == ships else None,
            )
            for name, chosen in rows.items()
        }
        for model in models
    }


def _models(params: Params, paths: Paths, data: dataset.Dataset) -> dict[str, tuple[keras.Model, store.Views]]:
    """Each model that was trained, from what it reads on; and that."""
    meta, _ = store.read_meta(paths.features)
    models: dict[str, tuple[keras.Model, store.Views]] = {}
    if features := store.load(paths.features, data.sha256s):
        models["head"] = (saving.load(paths.head), features)
    if len(history.read(paths.finetune_history)):
        above = assemble.above(saving.load(paths.model), store.read_meta(paths.activations)[0].output["cut"])
        activations = store.load(paths.activations, data.sha256s)
        models["finetuned"] = (
            above,
            activations or pixels.of(data, meta.made_with, params.data.source, Path(params.data.path)),
        )
    return models


def _tables(judged: Mapping[str, Mapping[SplitName, metrics.Judged]], data: dataset.Dataset) -> Iterator[pd.DataFrame]:
    """What each model predicts for each image, some at a time; one that is empty where nothing is held out."""
    for model, splits in judged.items():
        for name, one in splits.items():
            rows = data.sides.rows[name]
            for start in range(0, len(rows), predictions.AT_A_TIME):
                some = slice(start, start + predictions.AT_A_TIME)
                shown = data.used.iloc[rows[some]]
                paths, labels = list(shown["path"]), list(shown["label"])
                yield predictions.table(model, name, paths, labels, one.probabilities[some], data.classes)
    if not any(judged.values()):
        yield predictions.nothing(data.classes)


def _write_json(values: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
