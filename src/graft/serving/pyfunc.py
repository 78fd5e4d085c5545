"""What `mlflow.pyfunc.load_model` and `mlflow models serve` load: it travels inside every logged model."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from graft.errors import GraftError
from graft.serving.classifier import TOP_K, Classifier

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "image"
"""The one column of a table of images, by any name: the bytes of an image file each, base64 when served."""


class Served:
    """As MLflow calls a model."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """As `Classifier.predict` of the first column. params: `top_k`. Raises MlflowException, sent as 400."""
        try:
            files = [_decoded(one) for one in model_input.iloc[:, 0]]
            return self.classifier.predict(files, int((params or {}).get("top_k", TOP_K)))
        except GraftError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


def _decoded(file: Any) -> Any:
    """The bytes that base64 stands for, as text or as the bytes of a text: MLflow decodes it in some requests only."""
    try:
        return base64.b64decode(file, validate=True)
    except (ValueError, TypeError):  # no image file is made of base64's characters alone
        return file


def _load_pyfunc(path: str) -> Served:
    """path: of the folder with the model and its card."""
    return Served(Classifier.read(Path(path)))
