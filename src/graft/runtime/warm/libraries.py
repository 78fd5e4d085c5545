"""What takes long to import, and is imported once for all stages."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LIBRARIES = (
    "pandas",
    "pydantic",
    "typer",
    "ruamel.yaml",
    "simplejpeg",
    "PIL.ImageEnhance",
    "PIL.ImageStat",
    "lmdb",
    "platformdirs",
    "rich.console",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "sklearn.metrics",
    "scipy.stats",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "mlflow.pyfunc",
    "mlflow.models.display_utils",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "mlflow.tracing.processor.mlflow_v3",
    "mlflow.tracing.processor.otel",
    "jinja2",
    "git",
    "filelock",
    "importlib_metadata",
    "email.headerregistry",
)
"""What is imported after TensorFlow, by `evaluate` most of it.

Not openvino, which starts a thread as it is imported.
"""


def import_one(name: str) -> None:
    """Without one, a stage imports it itself, or says why it cannot."""
    with _at_once(), suppress(Exception):
        importlib.import_module(name)


@contextmanager
def _at_once() -> Iterator[None]:
    """Nothing is collected meanwhile, and what was made is left alone from then on."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_tensorflow() -> None:
    """And nothing of graft's stays: a stage reads its own code when it starts."""
    from graft.runtime.computing import tensorflow

    with _at_once():
        tensorflow.import_tensorflow()
    for name in [name for name in sys.modules if name.startswith("graft.")]:
        del sys.modules[name]
