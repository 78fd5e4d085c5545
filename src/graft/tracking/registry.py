"""Models in MLflow's registry: a version for each run that was promoted, and the alias of the one in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from graft.errors import TrackingError
from graft.tracking.logged import model_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"

CARD = "card.md"
"""The artefact of a run that holds its whole card."""

MOST_CHARACTERS = 5000
"""Of a version's description, as MLflow's tables have it."""

ABSENT = "RESOURCE_DOES_NOT_EXIST"


def require_name(name: str) -> None:
    """Raises TrackingError where MLflow takes no model of this name."""
    if not name.strip() or set("/:@") & set(name):
        raise TrackingError(
            f"--name: must be a name without / : and @, as an address has them. Got {name!r}. Without --name it is "
            "tracking.experiment of params.yaml."
        )


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version in use; None where there is none yet."""
    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        if error.error_code in (ABSENT, "INVALID_PARAMETER_VALUE"):  # no such model; no such alias of it
            return None
        raise


def register(client: MlflowClient, name: str, run: Run, card: str, tags: Mapping[str, str]) -> ModelVersion:
    """The run's version under `name`, made where there is none, with its card and tags.

    Raises TrackingError where the run holds no model.
    """
    run_id = run.info.run_id
    model = model_id(client, run_id)
    if model is None:
        raise TrackingError(
            f"MLflow run {run.info.run_name} ({run_id}): must hold a model to be registered. It has none. Run `graft "
            "log` in a checkout of its commit, or name another run."
        )
    client.log_text(run_id, card, CARD)
    known = client.search_model_versions(f"name = '{_quoted(name)}' and run_id = '{run_id}'")
    if known:
        version = max(known, key=lambda one: int(one.version))
    else:
        _make(client, name)
        version = client.create_model_version(name, f"models:/{model}", run_id, model_id=model)
    client.update_model_version(name, version.version, _fitting(card, run_id))
    for key in set(version.tags) - set(tags):
        if key.startswith("graft."):
            client.delete_model_version_tag(name, version.version, key)
    for key, value in tags.items():
        client.set_model_version_tag(name, version.version, key, value)
    return version


def crown(client: MlflowClient, name: str, version: ModelVersion) -> None:
    """Move the alias to a version."""
    client.set_registered_model_alias(name, ALIAS, version.version)


def _make(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _quoted(name: str) -> str:
    return name.replace("'", "''")


def _fitting(card: str, run_id: str) -> str:
    """The card, or as many of its lines as a description may have."""
    if len(card) <= MOST_CHARACTERS:
        return card
    rest = f"\n... The whole card is {CARD} of run {run_id}.\n"
    return card[: card.rindex("\n", 0, MOST_CHARACTERS - len(rest))] + rest
