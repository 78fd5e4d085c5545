"""The final model as MLflow's TensorFlow flavor: the very file that DVC has.

`mlflow.tensorflow.log_model` takes a model in memory, writes it anew and loads that to try it: seconds, and other
bytes. What is written here is what `mlflow.tensorflow.load_model` and `mlflow.pyfunc.load_model` read
(https://mlflow.org/docs/latest/ml/model/#storage-format).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from graft import inputs
from graft.models import card as cards

REQUIREMENTS = ("keras", "tensorflow", "numpy")
"""What a logged model needs; MLflow would take seconds to infer them."""


def versions() -> dict[str, str]:
    """The versions of the libraries that a model needs."""
    return {name: version(name) for name in REQUIREMENTS}


def log(run_id: str, file: Path, card: Mapping[str, Any]) -> None:
    """Log `file`, a classifier on (n, side, side, 3) pixels, with its signature, a blank example and its card."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    (shape, _), *_ = inputs.KINDS[card["input"]["kind"]](card["input"]).signature().values()
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(card["classes"])))]),
    )
    os.environ.pop("MLFLOW_RUN_ID", None)  # would beat the run named here
    with mlflow.start_run(run_id=run_id):
        Model.log(
            None,
            name="model",
            flavor=_KerasFile,
            file=file,
            card=card,
            signature=signature,
            example=np.zeros((1, *shape), np.float32),
            flavor_name="mlflow.tensorflow",
            validate_serving_input=False,
        )


class _KerasFile:
    """Takes the place of the module `mlflow.tensorflow` in `Model.log`."""

    @staticmethod
    def save_model(
        path: str, mlflow_model: Any, file: Path, card: Mapping[str, Any], signature: Any, example: np.ndarray, **_: Any
    ) -> None:
        from mlflow import pyfunc

        folder = Path(path)
        (folder / "data").mkdir(parents=True)
        shutil.copyfile(file, folder / "data" / "model.keras")
        cards.write(card, folder / "card.json")
        (folder / "data" / "keras_module.txt").write_text("tensorflow.keras")
        (folder / "data" / "save_format.txt").write_text("tf")
        mlflow_model.signature = signature
        mlflow_model.saved_input_example_info = _write_example(folder, example)
        mlflow_model.add_flavor(
            "tensorflow",
            code=None,
            data="data",
            model_type="keras",
            keras_version=version("tensorflow"),
            save_format="tf",
        )
        pyfunc.add_to_model(
            mlflow_model,
            loader_module="mlflow.tensorflow",
            conda_env="conda.yaml",
            python_env="python_env.yaml",
            data="data",
        )
        mlflow_model.model_size_bytes = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
        mlflow_model.save(str(folder / "MLmodel"))
        _write_environment(folder)


def _write_example(folder: Path, example: np.ndarray) -> dict[str, str]:
    """The example as `Model.load_input_example` and a scoring server read it; returns what MLmodel says of it.

    MLflow itself would take 0.3 s for the numbers of one image.
    """
    values = json.dumps(example.tolist())
    files = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}
    (folder / files["artifact_path"]).write_text(values)
    (folder / files["serving_input_path"]).write_text(f'{{"inputs": {values}}}')
    return {"type": "ndarray", **files}


def _write_environment(folder: Path) -> None:
    """What to install, in the three forms that MLflow knows."""
    pins = [f"{name}=={version(name)}" for name in ("mlflow", *REQUIREMENTS)]
    python = platform.python_version()
    (folder / "requirements.txt").write_text("\n".join(pins))
    tools = [f"{name}=={version(name)}" for name in ("pip", "setuptools", "wheel") if _installed(name)]
    files = {
        "python_env.yaml": {
            "python": python,
            "build_dependencies": tools,
            "dependencies": ["-r requirements.txt"],
        },
        "conda.yaml": {
            "name": "mlflow-env",
            "channels": ["conda-forge"],
            "dependencies": [f"python={python}", "pip", {"pip": pins}],
        },
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
