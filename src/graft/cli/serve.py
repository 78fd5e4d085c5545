"""`graft serve`: a model behind HTTP, with a page where a person drops a photo, or writes a text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from graft.cli.predict import ModelOption, RunOption, folder_of
from graft.errors import DataError, StaleError, SurroundingsError, listing
from graft.runtime.progress import say
from graft.server.limits import ALONE, Limits

NEEDED = ("prometheus_client", "starlette", "uvicorn")
DEFAULT = Limits()


def serve(
    model: ModelOption = None,
    run: RunOption = None,
    heads: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with a head on a frozen network (graft export --head) or a whole model; several."),
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0: reachable from other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5001,
    workers: Annotated[int, typer.Option(min=1, help="Processes; one that dies is started again by a parent.")] = 1,
    most_megabytes: Annotated[int, typer.Option(min=1, help="Of a request's body.")] = DEFAULT.body_bytes // 2**20,
    most_examples: Annotated[
        int, typer.Option("--most-images", "--most-texts", min=1, help="In one request.")
    ] = DEFAULT.examples,
    most_waiting: Annotated[int, typer.Option(min=1, help="Requests at once; others get 503.")] = DEFAULT.waiting,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="That a request may take; else it gets 504.")
    ] = DEFAULT.seconds,
) -> None:
    """Answer requests with the model's labels: image bytes, base64 or arrays; texts, plain or in JSON. As `mlflow
    models serve` does, and faster.

    POST /predict (or /invocations); GET / is a page for people, /card, /health, /metrics (Prometheus).
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SurroundingsError(
            f"graft serve needs {' and '.join(missing)}. Run `pip install 'graft-transfer[serve]'`."
        )
    folders = {ALONE: folder_of(model, run)} if not heads else _named(heads, model or run)
    from graft.server import run as server

    what = listing(folders.values())
    say(f"{what}: http://{host}:{port} once {'they are' if heads else 'it is'} loaded (Ctrl+C ends it)")
    server.serve(folders, host, port, workers, Limits(most_megabytes * 2**20, most_examples, most_waiting, seconds))


def _named(heads: list[Path], beside: str | None) -> dict[str, Path]:
    """Each head by the name of its folder. Raises DataError where two are called the same, or are not there."""
    if beside:
        raise DataError("--heads: stands instead of --model and --run. Name that model's folder among --heads.")
    from graft.serving.classifier import CARD

    for folder in heads:
        if not (folder / CARD).is_file():
            raise StaleError(f"--heads: {folder} must hold a head or a model with {CARD}. It has none.")
    named = {folder.resolve().name: folder for folder in heads}
    if len(named) < len(heads):
        raise DataError(f"--heads: must be folders of different names, by which requests ask. Got {listing(heads)}.")
    return named
