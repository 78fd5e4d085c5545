"""The history of a training: a CSV with a row per epoch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

COLUMNS = ("epoch", "steps", "learning_rate", "accuracy", "loss", "val_accuracy", "val_loss", "best")


def empty() -> pd.DataFrame:
    """The history of a training that was not asked for: no row."""
    return pd.DataFrame(columns=list(COLUMNS))


def write(history: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    history.to_csv(path, index=False, lineterminator="\n", columns=list(COLUMNS))


def read(path: Path) -> pd.DataFrame:
    """As written."""
    return pd.read_csv(path)
