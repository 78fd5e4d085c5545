"""Processes and ports: one process, or several workers that a parent watches and starts again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.runtime import cores
from graft.runtime.tensorflow import import_tensorflow
from graft.server import work

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from graft.serving.classifier import Classifier

SETTINGS = "GRAFT_SERVE"
"""A variable in which a worker finds the model's folder and its limits."""

KEEP_ALIVE_SECONDS = 30

SHUTDOWN_SECONDS = 10
"""For requests that run when the server is told to end."""


def serve(folder: Path, host: str, port: int, workers: int, limits: work.Limits) -> None:
    """Serve until told to end. folder: of a model and its card. workers: processes; 1: this one."""
    import uvicorn

    os.environ[SETTINGS] = json.dumps({"folder": str(folder.resolve()), "limits": asdict(limits)})
    with tempfile.TemporaryDirectory(prefix="graft-serve-") as shared:
        if workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
            os.environ[cores.VARIABLE] = str(max(1, cores.available() // workers))
        uvicorn.run(
            f"{__name__}:application",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )


def application() -> Starlette:
    """Of the settings in the environment: what a worker serves."""
    settings = json.loads(os.environ[SETTINGS])
    import_tensorflow()
    from graft.prediction import engine
    from graft.server import app
    from graft.serving.classifier import Classifier

    classifier = Classifier.read(Path(settings["folder"]))
    made = work.Work(classifier, engine.forward(classifier), work.Limits(**settings["limits"]))
    return app.made(made, heat_map(classifier))


def heat_map(classifier: Classifier) -> Callable[[Any], tuple[str, bytes]] | None:
    """An image -> its label and a picture of what that came from; None where there is no such picture."""
    return None
