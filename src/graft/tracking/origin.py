"""Where a model comes from: from a file, an address, a digest or a run to the runs in MLflow that made it.

Only finished passes count: a run that broke off, a repetition's seed or a probe has no model.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import StaleError, TrackingError, listing
from graft.models import card as cards
from graft.serving.classifier import CARD, MODEL
from graft.tracking import ledger, server
from graft.tracking.identity import COMPLETE, OUTPUTS, WEIGHTS
from graft.tracking.logged import called

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIGEST = re.compile(r"[0-9a-f]{7,64}")
"""Of weights or of a file, or a run's id; whole or how it begins, as `graft compare` shows ids."""

FORMATS = {".keras", ".tflite", ".onnx", ".xml", ".pb"}
"""Suffixes of a model's file, as graft exports them, too."""

VERSION = re.compile(r"models:/(?P<name>[^@/]+)(/(?P<version>\d+)|@(?P<alias>.+))")


@dataclass(frozen=True)
class Finished:
    """A finished pass of the pipeline, and the client of the store that holds its run."""

    client: MlflowClient
    run: Run

    @property
    def id(self) -> str:
        return str(self.run.info.run_id)

    @property
    def shown(self) -> str:
        """For a reader: name and id."""
        return f"{self.run.info.run_name} ({self.id})"


def connected(experiment: str) -> MlflowClient:
    """A client of the store. Raises TrackingError where no run can have been logged yet."""
    if server.is_unmade():
        raise TrackingError(
            f"MLflow ({server.shown()}): must hold runs to be asked. There is no store yet. Run `dvc repro`, or set "
            "MLFLOW_TRACKING_URI to where the runs are."
        )
    return server.connect(experiment)[0]


def complete(client: MlflowClient, wanted: str = "") -> list[Finished]:
    """All finished passes of all experiments, the newest first. wanted: a further condition, as MLflow takes them."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    passes = f"tags.`{COMPLETE}` = 'true' and tags.`{OUTPUTS}` LIKE '%'"  # a repetition has no outputs
    condition = f"{passes} and {wanted}" if wanted else passes
    found: list[Finished] = []
    token = None
    while True:
        page = client.search_runs(experiments, condition, order_by=["start_time DESC"], page_token=token)
        found += [Finished(client, run) for run in page]
        token = page.token
        if not token:
            return found


def is_model(what: str) -> bool:
    """Whether a path is that of a model rather than of an example: a folder, a card, or a file of FORMATS."""
    path = Path(what)
    return path.is_dir() or path.name == CARD or path.suffix.lower() in FORMATS


def runs_of(client: MlflowClient, what: str) -> list[Finished]:
    """The finished passes whose model is meant, the newest first.

    what: a model's file or folder, an address in MLflow, the id or name of a run, or the sha256 of weights as a card
    or a served answer has it. Raises TrackingError where there is none, or several runs are called so.
    """
    if ":/" in what:
        return [_required(client, client.get_run(_of_address(client, what)))]
    if Path(what).exists():
        return _of_file(client, Path(what))
    runs = called(client, what, [one.experiment_id for one in client.search_experiments()])
    if len(runs) > 1:
        ids = listing((run.info.run_id for run in runs), 5)
        raise TrackingError(f"{what!r}: must be one run in MLflow. {len(runs)} are called so; give an id: {ids}.")
    if runs:
        return [_required(client, runs[0])]
    found = with_digest(client, what) if DIGEST.fullmatch(what) else []
    if not found:
        raise TrackingError(
            f"{what!r}: must be a model's file or folder, an address in MLflow (models:/NAME@champion), the id or name "
            f"of a run, or the sha256 of a model's weights. MLflow ({server.shown()}) has nothing of this name, and "
            "there is no such file. `mlflow ui` shows the runs."
        )
    return found


def with_digest(client: MlflowClient, digest: str) -> list[Finished]:
    """The finished passes whose model's weights have a sha256 that begins so; else whose model's file has this md5, or
    whose id begins so.
    """
    return (
        complete(client, f"tags.`{WEIGHTS}` LIKE '{digest}%'")
        or complete(client, f"tags.`{ledger.MODEL}` = '{digest}'")
        or [one for one in complete(client) if one.id.startswith(digest)]
    )


def _required(client: MlflowClient, run: Run) -> Finished:
    if run.data.tags.get(COMPLETE) != "true":
        raise TrackingError(
            f"MLflow run {run.info.run_name} ({run.info.run_id}): must be a finished pass of the pipeline, which alone "
            "has a model. Run `dvc repro` to its end, or name another run."
        )
    return Finished(client, run)


def _of_address(client: MlflowClient, address: str) -> str:
    """The id of the run that an address is of."""
    kind, _, rest = address.partition(":/")
    version = VERSION.fullmatch(address)
    try:
        if version and version["alias"]:
            found = client.get_model_version_by_alias(version["name"], version["alias"]).run_id
        elif version:
            found = client.get_model_version(version["name"], version["version"]).run_id
        elif kind == "models":
            found = client.get_logged_model(rest.strip("/").split("/")[0]).source_run_id
        else:
            found = rest.strip("/").split("/")[0] if kind == "runs" else None
        if not found:
            raise TrackingError("It names no run.")
        return str(client.get_run(found).info.run_id)
    except Exception as error:
        raise TrackingError(
            f"{address}: must be a model in MLflow's store whose run is there: models:/NAME/VERSION, "
            f"models:/NAME@ALIAS or runs:/ID/model. Got: {server.reason(error)}"
        ) from None


def _of_file(client: MlflowClient, path: Path) -> list[Finished]:
    """By the bytes of the file, else by the weights that its card names: a copy saved anew, an exported model."""
    folder = path if path.is_dir() else path.parent
    folder = folder if (folder / CARD).is_file() else folder / "data"  # as MLflow has it
    if not (folder / CARD).is_file():
        raise StaleError(f"{path}: must be a model with {CARD} beside it. There is none. Name another file, or a run.")
    file = folder / MODEL if path.is_dir() or path.name == CARD else path
    if file.is_file():
        with file.open("rb") as opened:
            md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found := complete(client, f"tags.`{ledger.MODEL}` = '{md5}'"):
            return found
    weights = str(cards.read(folder / CARD).get("weights_sha256", ""))
    if found := with_digest(client, weights) if DIGEST.fullmatch(weights) else []:
        return found
    raise TrackingError(
        f"{path}: must be the model of a run in MLflow ({server.shown()}). None has these bytes or these weights. "
        "`graft log` logs the pass that the files here hold; MLFLOW_TRACKING_URI names another store."
    )
