"""The final model as MLflow keeps it: the very file that DVC has, and the code that feeds it.

`mlflow.tensorflow.load_model` gives the Keras model on pixels or tokens. `mlflow.pyfunc.load_model` gives a classifier
on image files or texts (`graft.serving`), whose modules travel with it, so that it needs no checkout. MLflow's own
`log_model` takes a model in memory, writes it anew and loads that to try it: seconds, and other bytes
(https://mlflow.org/docs/latest/ml/model/#storage-format).
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from graft.errors import StaleError, TrackingError
from graft.models import card as cards
from graft.models import saving
from graft.pipeline import code
from graft.serving import pyfunc as served
from graft.serving.classifier import CARD, MODEL, TOP_K, Classifier
from graft.tracking import schemas

REQUIREMENTS = ("keras", "tensorflow", "numpy", "pandas", "pillow", "simplejpeg", "opencv-python-headless")
"""What every logged model needs; MLflow would take seconds to infer them."""

PROBABILITIES_DIFFER = ("keras", "tensorflow", "numpy")
"""Those of which a card names the version."""

NOT_IN_A_NAME = str.maketrans(dict.fromkeys("/:.%\"'", "_"))
"""Characters that MLflow takes in a run's name, but not in a model's."""

OWN_IMPORT = re.compile(rf"\b(from|import) {code.PACKAGE}\b")


def versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {name: version(name) for name in PROBABILITIES_DIFFER}


def name_of(run_name: str) -> str:
    """The name of a run's model."""
    return run_name.translate(NOT_IN_A_NAME)


def load(model: str | Path) -> Classifier:
    """As `graft.load`."""
    return Classifier.read(folder_of(model))


def folder_of(model: str | Path) -> Path:
    """The folder that holds a model and its card, downloaded where it is MLflow's. Raises as `graft.load` does."""
    if isinstance(model, str) and ":/" in model:
        return _downloaded(model)
    path = Path(model)
    if path.suffix and path.name not in (MODEL, CARD) and not path.is_dir():
        raise StaleError(
            f"{path}: must be called {MODEL}, with its {CARD} beside it, since a model is read by these names. "
            "Got another name; put both into a folder of their own."
        )
    folder = path.parent if path.name in (MODEL, CARD) else path
    missing = [name for name in (MODEL, CARD) if not (folder / name).is_file()]
    if missing:
        raise StaleError(f"{folder}: must hold {MODEL} and {CARD}. Missing: {' and '.join(missing)}. Run `dvc repro`.")
    return folder


def _downloaded(address: str) -> Path:
    import mlflow

    from graft.tracking import server

    try:
        with server.faults():
            mlflow.set_tracking_uri(server.uri())
            folder = Path(mlflow.artifacts.download_artifacts(address)) / "data"
    except TrackingError as error:
        raise TrackingError(f"{address}: must be a model in MLflow's store. {error}") from None
    if not (folder / CARD).is_file():
        raise TrackingError(f"{address}: must be a model that graft logged. It has no data/{CARD}.")
    return folder


def log(run_id: str, run_name: str, file: Path, card: Mapping[str, Any], example: bytes | None, step: int) -> str:
    """Log `file` with its card and signature; returns the model's id.

    example: the bytes of an image file or a text, as input example. step: after the last epoch; MLflow gives a model
    all metrics of its run at this step, and there must be none.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=schemas.KINDS[card["input"]["kind"]].inputs(card["input"]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "probability"),
                ColSpec(Array(DataType.string), "top_labels"),
                ColSpec(Array(DataType.double), "top_probabilities"),
            ]
        ),
        params=ParamSchema([ParamSpec("top_k", DataType.long, TOP_K)]),
    )
    os.environ.pop("MLFLOW_RUN_ID", None)  # would beat the run named here
    with mlflow.start_run(run_id=run_id):
        logged = Model.log(
            None,
            name=name_of(run_name),
            flavor=_KerasFile,
            file=file,
            card=card,
            signature=signature,
            example=example,
            flavor_name="mlflow.tensorflow",
            validate_serving_input=False,
            step=step,
        )
    return str(logged.model_id)


class _KerasFile:
    """Takes the place of the module `mlflow.tensorflow` in `Model.log`."""

    @staticmethod
    def save_model(
        path: str,
        mlflow_model: Any,
        file: Path,
        card: Mapping[str, Any],
        signature: Any,
        example: bytes | None,
        **_: Any,
    ) -> None:
        from mlflow import pyfunc

        folder = Path(path)
        (folder / "data").mkdir(parents=True)
        shutil.copyfile(file, folder / "data" / MODEL)
        cards.write(card, folder / "data" / CARD)
        (folder / "data" / "keras_module.txt").write_text("tensorflow.keras")
        (folder / "data" / "save_format.txt").write_text("tf")
        loader = _copy_code(folder / "code")
        mlflow_model.signature = signature
        kind = schemas.KINDS[card["input"]["kind"]]
        if example is not None:
            mlflow_model.saved_input_example_info = _write_example(folder, kind.table(example))
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
            loader_module=loader,
            conda_env="conda.yaml",
            python_env="python_env.yaml",
            data="data",
            code="code",
        )
        mlflow_model.model_size_bytes = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
        mlflow_model.save(str(folder / "MLmodel"))
        hub = ("keras-hub",) if saving.has_layers_of_hub(file) else ()
        _write_environment(folder, tuple(dict.fromkeys((*REQUIREMENTS, *hub, *kind.requirements))))


@cache
def served_code() -> tuple[str, dict[str, str]]:
    """The modules of graft that the classifier is made of, in a package of their own: its name, and path -> text.

    Under graft's own name, one model's modules would stand in for those of another, or of an installed graft.
    """
    modules = code.closure([served.__name__])
    package = f"graft_model_{code.digest(modules, ())[:8]}"
    texts = {}
    for name in modules:
        source = code.file(name)
        if source is None:
            continue
        target = Path(package, *name.split(".")[1:])
        target = target / "__init__.py" if source.name == "__init__.py" else target.with_suffix(".py")
        texts[target.as_posix()] = OWN_IMPORT.sub(rf"\1 {package}", source.read_text(encoding="utf-8"))
    return package, texts


def _copy_code(folder: Path) -> str:
    """Write what the classifier is made of; returns the name of its loader."""
    package, texts = served_code()
    for place, text in texts.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for inside in {folder / package, *(one for one in (folder / package).rglob("*") if one.is_dir())}:
        (inside / "__init__.py").touch()
    return OWN_IMPORT.sub(rf"\1 {package}", f"import {served.__name__}").removeprefix("import ")


def _write_example(folder: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """A table as `Model.load_input_example` and a scoring server read it; returns what MLmodel says of it."""
    files = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}
    (folder / files["artifact_path"]).write_text(json.dumps(table))
    (folder / files["serving_input_path"]).write_text(json.dumps({"dataframe_split": table}))
    return {"type": "dataframe", "pandas_orient": "split", **files}


def _write_environment(folder: Path, requirements: Sequence[str]) -> None:
    """What to install, in the three forms that MLflow knows."""
    pins = [f"{name}=={version(name)}" for name in ("mlflow", *requirements) if _installed(name)]
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
