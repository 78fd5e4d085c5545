"""The catalogue as MLflow's dataset: a file that DVC keeps, known by its md5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.data import from_pandas
from mlflow.data.dataset_source import DatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag

NAME = "catalogue"


class DvcSource(DatasetSource):  # type: ignore[misc]
    """Where a dataset lies in a DVC project. Given as it is: MLflow's guess from a path warns that it has two."""

    def __init__(self, path: str, md5: str) -> None:
        self.path, self.md5 = path, md5

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, **kwargs: Any) -> Path:
        """The path; `dvc pull` brings the file where it is missing."""
        return Path(self.path)

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        raise NotImplementedError

    def to_dict(self) -> dict[str, str]:
        return {"path": self.path, "md5": self.md5}

    @classmethod
    def from_dict(cls, source_dict: dict[str, str]) -> DvcSource:
        return cls(**source_dict)


def entry(catalogue_path: Path, md5: str) -> DatasetInput:
    """The catalogue as a run's input; the digest is DVC's md5."""
    catalogue = pd.read_csv(catalogue_path, keep_default_na=False, dtype={"label": str, "path": str})
    integers = catalogue.select_dtypes("integer").columns
    catalogue[integers] = catalogue[integers].astype(float)  # MLflow warns of integer columns
    source = DvcSource(str(catalogue_path), md5)
    # The schema is read off the first row: MLflow looks at every value, for no more than its type.
    one = from_pandas(catalogue.head(1), source=source, targets="label", name=NAME, digest=md5).to_dict()
    profile = json.dumps({"num_rows": len(catalogue), "num_elements": catalogue.size})
    return DatasetInput(
        Dataset(**one | {"profile": profile}), [InputTag("mlflow.data.context", "train, validation, test")]
    )
