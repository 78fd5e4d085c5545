"""A ledger of the test set: the distinct models that were judged on these test images, as git and MLflow remember them.

Every model that is judged on them is a look at them, and the best of many looks good by chance. What was never
committed nor logged is not known, so that the count is a lower bound.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from graft.errors import TrackingError
from graft.examples import catalogue
from graft.pipeline import lock
from graft.runtime.progress import say
from graft.tracking import git, server

if TYPE_CHECKING:
    from graft.pipeline.layout import Paths

TEST_SPLIT, MODEL = "graft.test_split", "graft.model"
"""Tags of a finished run: the digest of the test images, and the md5 of the model that was judged on them."""

ENTRY = re.compile(r"^ +- path: (.+)\n(?: +[^-\s].*\n)*? +md5: (\S+)$", re.MULTILINE)
"""A file in a dvc.lock."""

SAME_TEST_SPLIT = (
    "SELECT DISTINCT models.value FROM tags AS splits JOIN tags AS models USING (run_uuid) "
    "WHERE splits.key = ? AND splits.value = ? AND models.key = ?"
)


def test_split(paths: Paths) -> str | None:
    """sha256 over the test images, each its file's sha256 and its label, sorted; None where there is no test image.

    Their names do not count, nor what is trained and validated on: another test split is another exam.
    """
    used = catalogue.read(paths.catalogue).used
    sides = pd.read_csv(paths.split, dtype=str, keep_default_na=False).set_index("path")["split"]
    chosen = used[used["path"].map(sides) == "test"]
    if chosen.empty:
        return None
    lines = sorted(f"{sha256} {label}\n" for sha256, label in zip(chosen["sha256"], chosen["label"], strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def tags(paths: Paths) -> dict[str, str]:
    """What a finished run is tagged with; nothing where there is no test image."""
    digest = test_split(paths)
    return {TEST_SPLIT: digest, MODEL: lock.md5_of(paths.model)} if digest else {}


def models(paths: Paths, experiment: str) -> set[str]:
    """The md5 of every model known to have been judged on the test images here, this one among them.

    From runs of MLflow, deleted ones too: a look cannot be taken back. From every dvc.lock in git, of all branches
    and DVC experiments, whose `evaluate` read the very file of the split. Nothing where there is no test image, or a
    file is missing.
    experiment: the one in MLflow by which a server is reached; all are asked.
    """
    here = all(path.is_file() for path in (paths.catalogue, paths.split, paths.model))
    own = tags(paths) if here else {}
    if not own:
        return set()
    return {own[MODEL]} | judged_on(own[TEST_SPLIT], lock.md5_of(paths.split), paths, experiment)


def judged_on(digest: str, split: str, paths: Paths, experiment: str) -> set[str]:
    """Likewise, on the test images of a run.

    digest: as `test_split` gives it. split: the md5 of the file of the split, by which git is asked.
    """
    return _logged(digest, experiment) | _committed(split, paths)


def _committed(split: str, paths: Paths) -> set[str]:
    read = [_read_by_evaluate(text) for text in git.versions(Path.cwd(), lock.LOCK)]
    return {md5s[str(paths.model)] for md5s in read if md5s.get(str(paths.split)) == split and str(paths.model) in md5s}


def _read_by_evaluate(text: str) -> dict[str, str]:
    """path -> md5 of a dvc.lock's entry for `evaluate`; nothing where there is none.

    By text, not as YAML: DVC writes every lock alike, and a hundred of them would take seconds to parse.
    """
    entry = re.search(r"^  evaluate:\n((?:   .*\n| *-.*\n)*)", text, re.MULTILINE)
    return dict(ENTRY.findall(entry.group(1))) if entry else {}


def _logged(digest: str, experiment: str) -> set[str]:
    """An SQLite store is read as it is: MLflow would take seconds to start."""
    file = server.store_file()
    try:
        return _in_server(digest, experiment) if file is None else _in_file(file, digest)
    except (TrackingError, sqlite3.Error):
        if file is None or file.exists():
            say("note: MLflow's store could not be asked which models were judged on these test examples")
        return set()


def _in_file(file: Path, digest: str) -> set[str]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        return {value for (value,) in database.execute(SAME_TEST_SPLIT, (TEST_SPLIT, digest, MODEL))}


def _in_server(digest: str, experiment: str) -> set[str]:
    from mlflow.entities import ViewType

    client, _ = server.connect(experiment)
    found: set[str] = set()
    with server.faults():
        experiments = [one.experiment_id for one in client.search_experiments(ViewType.ALL)]
        token = None
        while True:
            page = client.search_runs(
                experiments, f"tags.`{TEST_SPLIT}` = '{digest}'", run_view_type=ViewType.ALL, page_token=token
            )
            found |= {run.data.tags[MODEL] for run in page if MODEL in run.data.tags}
            token = page.token
            if not token:
                return found
