"""Which examples a pass used, and as which part: a table in its run, so that the run alone says what its model saw.

It takes 40 bytes an example, most of them the sha256, and is known by its digest: runs on the same data and split hold
equal tables, of which one is read.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from graft.examples import catalogue
from graft.tracking import artefacts

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from graft.pipeline.layout import Paths
    from graft.tracking.origin import Finished

ARTEFACT = PurePosixPath("data/examples.parquet")

DIGEST = "graft.examples"
"""A tag of a finished run: sha256 over the table's rows."""

COLUMNS = ("path", "sha256", "label", "split")
"""The sha256 is that of the example's bytes. The split is train, validation or test, or unused."""


def table(paths: Paths) -> pd.DataFrame:
    """COLUMNS, a row for each example that was not set aside, in the catalogue's order."""
    used = catalogue.read(paths.catalogue).used
    sides = pd.read_csv(paths.split, dtype=str, keep_default_na=False).set_index("path")["split"]
    return used[["path", "sha256", "label"]].assign(split=used["path"].map(sides))[list(COLUMNS)]


def log(client: MlflowClient, run_id: str, paths: Paths) -> None:
    """Put the table into the run."""
    found = table(paths)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ARTEFACT.name
        found.to_parquet(file, index=False, compression="zstd")
        client.log_artifact(run_id, str(file), str(ARTEFACT.parent))
    client.set_tag(run_id, DIGEST, hashlib.sha256(found.to_csv(index=False).encode()).hexdigest())


def of_run(found: Finished) -> pd.DataFrame | None:
    """The table of a run; None of one that is not finished, or was logged before there were such tables."""
    return artefacts.table(found.client, found.id, str(ARTEFACT))


@dataclass(frozen=True)
class Shared:
    """A table and the runs whose examples it lists, the newest first."""

    table: pd.DataFrame
    runs: Sequence[Finished]


def shared(runs: Sequence[Finished]) -> tuple[list[Shared], list[Finished]]:
    """Each different table of `runs` once, and the runs that hold none."""
    by_digest: dict[str, list[Finished]] = {}
    without = []
    for one in runs:
        if digest := one.run.data.tags.get(DIGEST):
            by_digest.setdefault(digest, []).append(one)
        else:
            without.append(one)
    found = []
    for same in by_digest.values():
        tables = (of_run(one) for one in same)  # the artefacts of one may be gone
        read = next((one for one in tables if one is not None), None)
        if read is None:
            without += same
        else:
            found.append(Shared(read, same))
    return found, without
