"""`graft serve`: a model behind HTTP, with a page where a person drops a photo."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from graft.cli.predict import ModelOption, RunOption, folder_of
from graft.errors import SurroundingsError
from graft.runtime.progress import say
from graft.server.work import Limits

NEEDED = ("prometheus_client", "starlette", "uvicorn")
DEFAULT = Limits()


def serve(
    model: ModelOption = None,
    run: RunOption = None,
    host: Annotated[str, typer.Option(help="0.0.0.0: reachable from other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5001,
    workers: Annotated[int, typer.Option(min=1, help="Processes; one that dies is started again by a parent.")] = 1,
    most_megabytes: Annotated[int, typer.Option(min=1, help="Of a request's body.")] = DEFAULT.body_bytes // 2**20,
    most_images: Annotated[int, typer.Option(min=1, help="In one request.")] = DEFAULT.images,
    most_waiting: Annotated[int, typer.Option(min=1, help="Requests at once; others get 503.")] = DEFAULT.waiting,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="That a request may take; else it gets 504.")
    ] = DEFAULT.seconds,
) -> None:
    """Answer requests with the model's labels: image bytes, base64 or arrays, as `mlflow models serve` does and faster.

    POST /predict (or /invocations); GET / is a page for people, /card, /health, /metrics (Prometheus).
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SurroundingsError(
            f"graft serve needs {' and '.join(missing)}. Run `pip install 'graft-transfer[serve]'`."
        )
    folder = folder_of(model, run)
    from graft.server import run as server

    say(f"{folder}: http://{host}:{port} once the model is loaded (Ctrl+C ends it)")
    server.serve(folder, host, port, workers, Limits(most_megabytes * 2**20, most_images, most_waiting, seconds))
