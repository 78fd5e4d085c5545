"""What `mlflow.pyfunc.load_model` and `mlflow models serve` load: it travels inside every logged model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from graft.errors import GraftError
from graft.serving.classifier import TOP_K, Classifier

if TYPE_CHECKING:
    import pandas as pd


class Served:
    """As MLflow calls a model."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """As `Classifier.predict` of a table. params: `top_k`. Raises MlflowException, sent as 400."""
        try:
            examples = self.classifier.kind.rows(model_input, self.classifier.input)
            return self.classifier.predict(examples, int((params or {}).get("top_k", TOP_K)))
        except GraftError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


def _load_pyfunc(path: str) -> Served:
    """path: of the folder with the model and its card."""
    return Served(Classifier.read(Path(path)))
