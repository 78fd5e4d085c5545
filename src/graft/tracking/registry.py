"""Models in MLflow's registry: a version for each run that was promoted, and the alias of the one in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from graft.errors import TrackingError
from graft.tracking.logged import model_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from graft.tracking.origin import Finished

ALIAS = "champion"

CARD = "card.md"
"""The artefact of a run that holds its whole card."""

MOST_CHARACTERS = 5000
"""Of a version's description, as MLflow's tables have it."""

UNNAMEABLE = set("/:@'\"%")

OWN = "graft."
"""How the tags begin that graft writes."""

ABSENT = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class Version:
    """Of a model in the registry. run_id: None where it was registered by hand, without a run."""

    name: str
    number: int
    run_id: str | None

    @property
    def shown(self) -> str:
        return f"{self.name} version {self.number}"


def require_name(name: str) -> None:
    """Raises TrackingError where MLflow takes no model of this name."""
    if not name.strip() or UNNAMEABLE & set(name):
        raise TrackingError(
            f"--name: must be a name without {' '.join(sorted(UNNAMEABLE))}, which addresses have. Got {name!r}. Give "
            "another one; without --name it is tracking.experiment of params.yaml."
        )


def champion(client: MlflowClient, name: str) -> Version | None:
    """The version in use; None where there is none yet."""
    try:
        found = client.get_model_version_by_alias(name, ALIAS)
        return Version(name, int(found.version), found.run_id or None)
    except MlflowException as error:
        if error.error_code in (ABSENT, "INVALID_PARAMETER_VALUE"):  # no such model; no such alias of it
            return None
        raise


def register(run: Finished, name: str, card: str, tags: Mapping[str, str]) -> Version:
    """The run's version under `name`, made where there is none, with its card and tags.

    Raises TrackingError where the run holds no model.
    """
    client = run.client
    model = model_id(client, run.id)
    if model is None:
        raise TrackingError(
            f"MLflow run {run.shown}: must hold a model to be registered. It has none. Run `graft log` in a "
            "checkout of its commit, or name another run."
        )
    client.log_text(run.id, card, CARD)
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run.id}'")
    if known:
        version = max(known, key=lambda one: int(one.version))
    else:
        _make(client, name)
        version = client.create_model_version(name, f"models:/{model}", run.id, model_id=model)
    client.update_model_version(name, version.version, _fitting(card, run.id))
    for key in sorted(set(version.tags) - set(tags)):
        if key.startswith(OWN):
            client.delete_model_version_tag(name, version.version, key)
    for key, value in tags.items():
        client.set_model_version_tag(name, version.version, key, value)
    return Version(name, int(version.version), run.id)


def crown(client: MlflowClient, version: Version) -> None:
    """Move the alias to a version."""
    client.set_registered_model_alias(version.name, ALIAS, str(version.number))


def _make(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _fitting(card: str, run_id: str) -> str:
    """The card, or as many of its lines as a description may have."""
    if len(card) <= MOST_CHARACTERS:
        return card
    rest = f"\n... The whole card is {CARD} of run {run_id}.\n"
    return card[: card.rindex("\n", 0, MOST_CHARACTERS - len(rest))] + rest
