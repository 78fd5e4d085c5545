"""The page about the model, put into the run of its pass."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from graft.tracking import mirror, run, server

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

ARTEFACT = "report/report.html"


def attach(params: Params, paths: Paths, page: Path) -> str | None:
    """Log `page` as ARTEFACT of the complete run that has these parameters, inputs and outputs; returns its name.

    None where there is no such run, or no store yet; none is made. Raises TrackingError where the store or the server
    cannot be used.
    """
    if server.is_unmade() or paths.missing():
        return None
    client, experiment_id = server.connect(params.tracking.experiment)
    this = {run.PASS: run.pass_id(params, paths), run.COMPLETE: "true", run.OUTPUTS: mirror.outputs_digest(paths)}
    with server.faults(), tempfile.TemporaryDirectory() as folder:
        found = run.find(client, experiment_id, this)
        if found is None:
            return None
        where = PurePosixPath(ARTEFACT)
        copy = shutil.copyfile(page, Path(folder) / where.name)
        client.log_artifact(found.info.run_id, str(copy), str(where.parent))
    return str(found.info.run_name)
