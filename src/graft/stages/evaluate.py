"""The head-only and the fine-tuned model are judged side by side, on validation and test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    evaluate = params.evaluate
    data = dataset.read(paths.catalogue, paths.split)
    used, classes, targets = data.used, data.classes, data.targets
    rows = {name: chosen for name, chosen in data.sides.rows.items() if name in JUDGED and len(chosen)}
    curves = {stage: history.read(path) for stage, path in paths.histories.items()}
    curves = {stage: curve for stage, curve in curves.items() if len(curve)}
    divisor = card.read(paths.card).get("temperature")

    models = _models(params, paths, data, "finetune" in curves)
    probabilities = {
        model: {name: dataset.predicted(network, views, chosen) for name, chosen in rows.items()}
        for model, (network, views) in models.items()
    }
    ships = list(models)[-1]
    if divisor is not None and ships == "head":  # the head's own file is as it was trained
        probabilities[ships] = {name: temperature.divided(p, divisor) for name, p in probabilities[ships].items()}

    judged = {
        model: {
            name: metrics.Judged(
                by_split[name],
                targets[chosen],
                classes,
                evaluate.top_k,
                evaluate.calibration_bins,
                evaluate.confidence,
                divisor if model == ships else None,
            )
            for name, chosen in rows.items()
        }
        for model, by_split in probabilities.items()
    }
    found: summary.Judged = {m: {str(s): metrics.compute(j) for s, j in splits.items()} for m, splits in judged.items()}
    _write_json(found, paths.metrics)
    _write_json(summary.few(found), paths.summary)
    parts: list[pd.DataFrame] = []
    for model, by_split in probabilities.items():
        for name, chosen in rows.items():
            shown = used.iloc[chosen]
            parts.append(
                predictions.table(model, name, list(shown["path"]), list(shown["label"]), by_split[name], classes)
            )
    table = pd.concat(parts, ignore_index=True) if parts else predictions.nothing(classes)
    predictions.write(table, paths.predictions)

    last_split: SplitName = "test" if "test" in rows else "validation"
    last = table[(table["model"] == ships) & (table["split"] == last_split)]
    plots.write_confusion(list(last["prediction"]), list(last["label"]), paths.confusion)
    on_shown = {
        f"{model}, {last_split}": splits[last_split] for model, splits in judged.items() if last_split in splits
    }
    for picture, draw in plots.PLOTS.items():
        figure = draw(curves, on_shown)
        if figure is not None:
            plots.save(figure, paths.pictures / f"{picture}.png")


def _models(
    params: Params, paths: Paths, data: dataset.Dataset, finetuned: bool
) -> dict[str, tuple[keras.Model, store.Views]]:
    """Each model that was trained, from what it reads on; and that."""
    meta, _ = store.read_meta(paths.features)
    models: dict[str, tuple[keras.Model, store.Views]] = {}
    if features := store.load(paths.features, data.sha256s):
        models["head"] = (saving.load(paths.head), features)
    if finetuned:
        above = assemble.above(saving.load(paths.model), store.read_meta(paths.activations)[0].output["cut"])
        images = pixels.of(data, meta.made_with, params.data.source, Path(params.data.path))
        models["finetuned"] = (above, store.load(paths.activations, data.sha256s) or images)
    return models


def _write_json(values: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
