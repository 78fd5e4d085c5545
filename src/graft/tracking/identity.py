"""By what the run of a pass is known: its content, and the tags that say so. Needs no MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

PASS = "graft.pass"
CODE = "graft.code"
COMPLETE = "graft.complete"
OUTPUTS = "graft.outputs"
DIVERGED = "graft.diverged_from"
WEIGHTS, DATA = "graft.model_weights", "graft.data_md5"
"""Tags of a finished run: the sha256 of the weights of the model that ships, as its card and every served answer say
it, and the md5 that `dvc.lock` has of data.path.
"""

WHERE = ("ray.", "data.runner", "extract.runner", "train.runner")
"""Parameters that say where something is computed, which gives the same bytes."""

UNTRACKED = ("tracking.", "data.path", "export.", *WHERE)
"""Parameters that change nothing that a pass computes: the catalogue has every image's sha256."""


def pass_id(params: Params, paths: Paths) -> str:
    """12 hex digits over the parameters that compute something, the catalogue, the split and what made the features."""
    state = hashlib.sha256()
    leaves = {key: value for key, value in params.flat().items() if not key.startswith(UNTRACKED)}
    state.update(json.dumps(leaves, sort_keys=True).encode())
    for path in (paths.catalogue, paths.split, paths.features / "meta.json", paths.activations / "meta.json"):
        state.update(path.read_bytes())
    return state.hexdigest()[:12]


def search(client: MlflowClient, experiment_id: str, tags: Mapping[str, str], most: int = 1000) -> list[Run]:
    """Runs with these tags, the newest first."""
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    return list(client.search_runs([experiment_id], wanted, order_by=["start_time DESC"], max_results=most))


def with_outputs(md5s: Mapping[str, str]) -> str:
    """What MLflow is asked for runs whose stages gave these outputs. md5s: stage -> as `lock.md5s` has it."""
    return " and ".join(f"tags.`graft.stage.{stage}` LIKE '% {md5}'" for stage, md5 in md5s.items())
