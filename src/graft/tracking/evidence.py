"""What a finished run holds of how its model was made and judged, fetched for the card that people read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import StaleError, listing
from graft.tracking import artefacts, ledger
from graft.tracking.described import COUNTS, Described, describe

if TYPE_CHECKING:
    from graft.pipeline.layout import Paths
    from graft.tracking.origin import Finished

EVALUATION, PREDICTIONS, CARD, STAGES = (
    "metrics/evaluation.json", "predictions/predictions.parquet", "card.json", "stages.json",
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """params: flat, as text, `auto` resolved. counts, card: as `prepare` and `finetune` wrote them.

    evaluation, predictions: files, as `evaluate` wrote them. looks: models known to have been judged on these test
    examples, this one among them; 0 without test examples.
    """

    of: Described
    params: Mapping[str, str]
    counts: Mapping[str, Any]
    card: Mapping[str, Any]
    evaluation: Path
    predictions: Path
    looks: int


def fetch(run: Finished, paths: Paths, folder: Path) -> Evidence:
    """Files go into `folder`. Raises StaleError where the run lacks one."""
    files = {name: artefacts.content(run.client, run.id, name) for name in (EVALUATION, PREDICTIONS)}
    trees = {name: artefacts.tree(run.client, run.id, name) for name in (COUNTS, CARD)}
    if missing := [name for name, found in (files | trees).items() if found is None]:
        raise StaleError(
            f"MLflow run {run.shown}: must hold {listing(missing)}, which its card is written from. "
            "Only a finished pass of a pipeline with an evaluation holds them, as long as its artefacts are kept: run "
            "`dvc repro` or `graft log` in a checkout of its commit, or name another run."
        )
    for name, data in files.items():
        (folder / Path(name).name).write_bytes(data or b"")
    evaluation, predictions = (folder / Path(name).name for name in files)
    return Evidence(
        describe(run),
        run.run.data.params,
        trees[COUNTS] or {},
        trees[CARD] or {},
        evaluation,
        predictions,
        _looks(run, paths),
    )


def _looks(run: Finished, paths: Paths) -> int:
    tags = run.run.data.tags
    if ledger.TEST_SPLIT not in tags:
        return 0
    stages = artefacts.tree(run.client, run.id, STAGES) or {}
    split = stages.get("prepare", {}).get("md5", {}).get(str(paths.split), "")
    experiment = run.client.get_experiment(run.run.info.experiment_id).name
    return len({tags[ledger.MODEL]} | ledger.judged_on(tags[ledger.TEST_SPLIT], split, paths, experiment))
