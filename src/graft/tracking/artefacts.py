"""Files of a run in MLflow, fetched where it has them."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from graft.config import yaml_file
from graft.errors import ParamsError

if TYPE_CHECKING:
    from typing import Any

    from mlflow import MlflowClient


def content(client: MlflowClient, run_id: str, path: str) -> bytes | None:
    """The bytes of an artefact; None where the run has none at this path."""
    folder = str(PurePosixPath(path).parent)
    if path not in [one.path for one in client.list_artifacts(run_id, None if folder == "." else folder)]:
        return None
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as target:
        return Path(client.download_artifacts(run_id, path, target)).read_bytes()


def tree(client: MlflowClient, run_id: str, path: str) -> dict[str, Any] | None:
    """What a YAML or JSON artefact holds; None where there is none that can be read."""
    data = content(client, run_id, path)
    try:
        return None if data is None else yaml_file.parse(data.decode("utf-8", "replace"), path)
    except ParamsError:
        return None


def table(client: MlflowClient, run_id: str, path: str) -> pd.DataFrame | None:
    """What a parquet artefact holds; None where there is none that can be read."""
    data = content(client, run_id, path)
    try:
        return None if data is None else pd.read_parquet(io.BytesIO(data))
    except (ValueError, OSError):  # pyarrow's ArrowInvalid is a ValueError
        return None
