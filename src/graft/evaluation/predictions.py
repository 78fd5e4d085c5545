"""Per-image predictions: a row per model, split and image.

Columns: model (head, finetuned), split, path, label, prediction, then one probability per class,
named `p:<class>`, float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

TEXTS = ("model", "split", "path", "label", "prediction")


def table(
    model: str,
    split: str,
    paths: Sequence[str],
    labels: Sequence[str],
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> pd.DataFrame:
    """The rows of one model on one split. probabilities: (n, n_classes)."""
    names = np.asarray(classes, dtype=object)
    columns = {
        "model": model,
        "split": split,
        "path": list(paths),
        "label": list(labels),
        "prediction": names[probabilities.argmax(axis=1)],
    }
    scores = pd.DataFrame(probabilities.astype(np.float32), columns=[f"p:{name}" for name in classes])
    return pd.concat([pd.DataFrame(columns), scores], axis=1)


def nothing(classes: Sequence[str]) -> pd.DataFrame:
    """The table of no image; its columns have the types that they have with rows."""
    text = pd.Series([], dtype="str")
    scores = dict.fromkeys((f"p:{name}" for name in classes), pd.Series([], dtype=np.float32))
    return pd.DataFrame(dict.fromkeys(TEXTS, text) | scores)


def write(predictions: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(path, index=False)
