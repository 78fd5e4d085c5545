"""What several trainings of one recipe say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graft.evaluation import metrics, summary
from graft.repetition.again import Trained
from graft.verdicts.spread import Spread


def spreads(trained: Sequence[Trained]) -> dict[str, dict[str, Spread]]:
    """model -> figure of `summary.NAMES` (test_accuracy, val_log_loss, ...) -> its spread. trained: two or more."""
    first = trained[0].metrics
    found: dict[str, dict[str, Spread]] = {}
    for model in first:
        each = [summary.figures(one.metrics, model) for one in trained]
        shared = [name for name in each[0] if all(name in figures for figures in each)]
        found[model] = {name: Spread([figures[name] for figures in each]) for name in shared}
    return found


def together(trained: Sequence[Trained]) -> dict[str, dict[str, Any]]:
    """model -> metric, over the test images of all folds as one: each image is tested once, by the model of its fold.

    Models without test images are left out.
    """
    found = {}
    for model in trained[0].judged:
        parts = [one.judged[model]["test"] for one in trained if "test" in one.judged[model]]
        if parts:
            all_of_them = metrics.Judged(
                np.concatenate([part.probabilities for part in parts]),
                np.concatenate([part.targets for part in parts]),
                parts[0].classes,
                parts[0].top_k,
                parts[0].calibration_bins,
                parts[0].confidence,
            )
            found[model] = metrics.compute(all_of_them)
    return found


def document(what: str, trained: Sequence[Trained], confidence: float, folds: bool) -> dict[str, Any]:
    """All there is to know, as JSON has it.

    what: for a reader. confidence: of the seed noise, which folds do not tell: they differ in their images too.
    """
    found: dict[str, Any] = {
        "what": what,
        "runs": [
            {
                "name": one.plan.name,
                "seed": one.plan.params.seed,
                "fold": one.plan.params.data.split.fold if folds else None,
                "judged": one.metrics,
            }
            for one in trained
        ],
        "confidence": confidence,
        "spread": {
            model: {name: _told(spread, None if folds else confidence) for name, spread in by_name.items()}
            for model, by_name in spreads(trained).items()
        },
    }
    return found | ({"together": together(trained)} if folds else {})


def _told(spread: Spread, confidence: float | None) -> dict[str, float]:
    told = {part: float(getattr(spread, part)) for part in ("mean", "deviation", "lowest", "highest")}
    return told if confidence is None else told | {"noise": spread.noise(confidence)}


def figures(document: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """model -> name -> value, of a document, to compare by: `test_accuracy` is the mean; beside it stand
    `test_accuracy_deviation` and `test_accuracy_noise` or, of folds, `test_accuracy_together`."""
    found: dict[str, dict[str, float]] = {}
    for model, spread in document["spread"].items():
        found[model] = {name: told["mean"] for name, told in spread.items()}
        for part in ("deviation", "noise"):
            found[model] |= {f"{name}_{part}": told[part] for name, told in spread.items() if part in told}
    for model, whole in document.get("together", {}).items():
        values = summary.figures({model: {"test": whole}}, model)
        found[model] |= {f"{name}_together": value for name, value in values.items()}
    return found
