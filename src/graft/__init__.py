"""graft: give a pretrained network a new head, fit it to your images, get the same numbers twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from graft.serving.classifier import Classifier

__version__ = "0.1.0"


def load(model: str | Path = "models/model.keras") -> Classifier:
    """A model to `predict` with: `graft.load("runs:/<run id>/model").predict([Path("a.jpg"), pixels])`; of texts,
    `.predict(["I lost my card"])`.

    model: an address of MLflow's (`runs:/...`, `models:/...`), a folder that holds `model.keras` and `card.json`, or
        the path of such a file. Raises TrackingError where MLflow does not have it, StaleError where no file is.
    """
    from graft.tracking import model as logged

    return logged.load(model)
