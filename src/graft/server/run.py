"""Processes and ports: one process, or several workers that a parent watches and starts again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from graft.prediction import engine
from graft.runtime import cores
from graft.runtime.computing.tensorflow import import_tensorflow
from graft.server import work
from graft.server.kinds import KINDS
from graft.server.limits import ALONE, Limits

if TYPE_CHECKING:
    from starlette.applications import Starlette


SETTINGS = "GRAFT_SERVE"
"""A variable in which a worker finds the model's folder and its limits."""

KEEP_ALIVE_SECONDS = 30

SHUTDOWN_SECONDS = 10
"""For requests that run when the server is told to end."""


def serve(folders: Mapping[str, Path], host: str, port: int, workers: int, limits: Limits) -> None:
    """Serve until told to end.

    folders: of a model and its card, by the name ALONE; or of several heads, by theirs. workers: processes; 1: this
    one.
    """
    import uvicorn

    named = {name: str(folder.resolve()) for name, folder in folders.items()}
    os.environ[SETTINGS] = json.dumps({"folders": named, "limits": asdict(limits)})
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
    from graft.server import app

    folders = {name: Path(folder) for name, folder in settings["folders"].items()}
    limits = Limits(**settings["limits"])
    if list(folders) == [ALONE]:
        from graft.serving.classifier import Classifier

        classifier = Classifier.read(folders[ALONE])
        forward = engine.forward(classifier)
        explain = KINDS[classifier.input.kind].explained(classifier, forward)
        return app.made(work.Work(classifier, forward, limits), explain)
    return app.made(_of_heads(folders, limits))


def _of_heads(folders: Mapping[str, Path], limits: Limits) -> work.Work:
    from graft.prediction import heads
    from graft.serving.classifier import Classifier

    read = {name: heads.read(folder) for name, folder in folders.items()}
    cards = {name: head.card for name, head in read.items()}
    classifier = Classifier(heads.together(read), next(iter(cards.values())))
    return work.Work(classifier, engine.forward(classifier), limits, cards)
