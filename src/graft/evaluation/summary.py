"""The few figures by which runs are compared, of the model that ships, under the same names whatever was trained.

`test_accuracy`, `val_log_loss`, ...: a split and a metric. DVC compares those of SHOWN, MLflow has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graft.errors import listing

if TYPE_CHECKING:
    import pandas as pd

SPLITS = {"test": "test", "validation": "val"}
"""split -> how its metrics begin."""

NAMES = {
    "accuracy": "accuracy",
    "log_loss": "log_loss",
    "macro_f1": "f1",
    "expected_calibration_error": "ece",
    "top_k_accuracy": "top_k_accuracy",
}
"""A metric of `data/evaluation.json` -> its name after the split's."""

SHOWN = ("test_accuracy", "val_accuracy", "test_log_loss", "test_f1", "test_ece")
"""What `dvc metrics show` and `dvc exp show` have; where there are no test images, validation's."""

Judged = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""model -> split -> metric, as in `data/evaluation.json`; the model that ships is the last."""


def shipped(judged: Judged) -> str | None:
    """The name of the model that ships; None where there is none."""
    return list(judged)[-1] if judged else None


def figures(judged: Judged, model: str | None) -> dict[str, float]:
    """name -> value, all there are of a model; those of the test images first."""
    splits = judged[model] if model else {}
    return {
        f"{prefix}_{name}": float(splits[split][metric])
        for split, prefix in SPLITS.items()
        if split in splits
        for metric, name in NAMES.items()
        if metric in splits[split]
    }


def few(judged: Judged) -> dict[str, float]:
    """Those of SHOWN, of the model that ships."""
    found = figures(judged, shipped(judged))
    if not any(name.startswith("test_") for name in found):
        names = [name.replace("test_", "val_") for name in SHOWN]
        return {name: found[name] for name in dict.fromkeys(names) if name in found}
    return {name: found[name] for name in SHOWN if name in found}


def warnings(judged: Judged, finetuning: pd.DataFrame) -> list[str]:
    """What a user should know before using the model that ships, a sentence each.

    finetuning: its history, without rows where there was none.
    """
    told = []
    if (finetuning.loc[finetuning["best"] == 1, "epoch"] == 0).any():
        told.append(
            "no epoch of fine-tuning was better than the trained head it started from, by finetune.monitor: the model "
            "that ships is the backbone as it came, with that head. Lower finetune.learning_rate, or set "
            "finetune.enabled: false."
        )
    model = shipped(judged)
    for split in SPLITS:
        classes = judged[model].get(split, {}).get("per_class", {}) if model else {}
        never = [f"{name} (0 of {m['images']})" for name, m in classes.items() if m["images"] and not m["recall"]]
        if never:
            told.append(f"never found among the {split} examples: {listing(never)}.")
    return told
