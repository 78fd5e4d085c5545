"""Where runs go: `MLFLOW_TRACKING_URI`, or `mlflow.db` in the project's root."""

from __future__ import annotations

import http.client
import logging
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from graft.errors import GraftError, TrackingError
from graft.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
STORE = "mlflow.db"
ARTIFACTS = "mlruns"
ANSWER_WITHIN_SECONDS = 10
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""What a server may cost, where the user has not said otherwise: MLflow itself would try again for minutes."""

LOCK_WITHIN_SECONDS = 120
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""So that `mlflow ui` shows the pages for trained models, not those for language models."""


def root() -> Path:
    """The project's root: the main repository even for an experiment in a temporary workspace."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def uri() -> str:
    """The tracking URI; what `mlflow ui` shows when started in the root without flags.

    A relative SQLite path is meant from the root, not from an experiment's temporary workspace.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return _own_uri()
    if given.startswith(SQLITE) and not given.startswith(f"{SQLITE}/"):
        return f"{SQLITE}{store.escaped(root())}/{given.removeprefix(SQLITE)}"
    return given


def _own_uri() -> str:
    """Of the project's own store."""
    return f"{SQLITE}{store.escaped(root() / STORE)}"


def store_file() -> Path | None:
    """The SQLite file that runs go to; None where they go to a server, or to another database."""
    where = uri()
    return Path(unquote(where.removeprefix(SQLITE).split("?")[0])) if where.startswith(SQLITE) else None


def is_unmade() -> bool:
    """Whether no run can have been logged yet: `connect` would make the store."""
    file = store_file()
    return file is not None and not file.exists()


def is_remote() -> bool:
    """Whether runs go to a server, rather than into a file or a database."""
    return uri().startswith(("http://", "https://"))


def shown() -> str:
    """The tracking URI without a user's password."""
    return _without_password(uri())


def _without_password(text: str) -> str:
    return re.sub(r"://\S*@", "://", text)


@contextmanager
def faults() -> Iterator[None]:
    """Whatever the store or the server raises becomes one TrackingError."""
    try:
        yield
    except GraftError:
        raise
    except Exception as error:  # MlflowException, SQLAlchemyError, OSError, ImportError of a driver, ...
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown()} cannot be used. Got: {type(error).__name__}: {reason(error)}. "
            "Mend the store, or unset the variable to use mlflow.db here."
        ) from None


def reason(error: Exception) -> str:
    """What an error of MLflow's says, in a line: no statements of SQL, no passwords, no addresses of manuals."""
    text = " ".join(str(error).split())
    for tail in ("(Background on this error", "[SQL:"):
        text = text.split(tail)[0]
    return _without_password(text).strip()[:300]


def looking(within_seconds: float) -> MlflowClient:
    """A client of the server that makes nothing there and does not wait long. Raises TrackingError."""
    where = uri()
    require_answer(where, within_seconds)
    os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": f"{within_seconds:.0f}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    import mlflow

    _quiet()
    return mlflow.MlflowClient(where)


def require_usable() -> None:
    """Raises TrackingError where no run can go to the store, as far as that is known without starting MLflow."""
    file = store_file()
    if is_remote():
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        require_answer(uri())
    elif file is not None and file.exists():
        with store.read(file):
            pass


def connect(experiment: str) -> tuple[MlflowClient, str]:
    """A client and the id of `experiment`, made if need be. Raises TrackingError where the server does not answer.

    The first use of a SQLite store creates its tables; a lock lets one process do it.
    """
    from filelock import FileLock

    where = uri()
    require_usable()
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would print the password, too
    import mlflow

    _quiet()
    sqlite = store_file()
    local = sqlite is not None
    file = sqlite or root() / ".graft" / "mlflow"
    with faults():
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=LOCK_WITHIN_SECONDS):
            if local:
                store.make_whole(file)
            if where == _own_uri():
                store.follow(file, (root() / ARTIFACTS).as_uri())
            mlflow.set_tracking_uri(where)
            client = mlflow.MlflowClient(where)
            return client, _experiment(client, experiment, None if is_remote() else root() / ARTIFACTS)


def _experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"tracking.experiment: {name!r} was deleted in MLflow. Restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another name."
        )
    if found is not None:
        return str(found.experiment_id)
    try:
        location = artifacts.as_uri() if artifacts else None
        tags = KIND | ({store.PLACE: location} if location else {})
        return str(client.create_experiment(name, artifact_location=location, tags=tags))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # someone else made it on the same server
        if found is None:
            raise
        return str(found.experiment_id)


def require_answer(where: str, within_seconds: float = ANSWER_WITHIN_SECONDS) -> None:
    """Raises TrackingError where a server does not answer: MLflow's own client would retry for minutes."""
    try:
        with urllib.request.urlopen(f"{_without_password(where).rstrip('/')}/health", timeout=within_seconds):
            pass
    except urllib.error.HTTPError:
        pass  # it answers; whether it lets us in is for MLflow's client to say
    except (OSError, ValueError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLError):
            return  # MLflow's client has settings of its own for certificates
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown()} must be a reachable MLflow server. Got: {cause}. Nothing was computed. "
            "Start the server, or unset the variable to use mlflow.db in the project."
        ) from None


def _quiet() -> None:
    """Alembic reports every table it makes, MLflow every advice; errors still come through.

    Not those of the store, as of a full disk: MLflow shows a page of each, with what it wrote, and raises it as well.
    """
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)
