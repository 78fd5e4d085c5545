"""MLflow's SQLite file: made whole or not at all, and at home where the project is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from graft.errors import TrackingError
from graft.runtime.progress import say

NEW, ASIDE, BEFORE = ".new", ".half-made", ".before-"

PLACE = "graft.artifacts"
"""A tag of the project's own experiments: where it was when they were made. Others lie where their makers wanted."""

PLACES = {
    "experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location",
    "model_versions": "storage_location",
}  # fmt: skip
"""Table -> the column that says where artifacts lie."""


def escaped(path: Path) -> str:
    """As it stands in an address of SQLAlchemy's, which takes `%20` for a blank and `?` for the path's end."""
    return str(path).replace("%", "%25").replace("?", "%3F")


def make_whole(file: Path) -> None:
    """Make the store aside and rename it, so that a process that is killed leaves none or a whole one.

    One that is half made nevertheless, and so holds no run, is put aside. Raises TrackingError where it is no store.
    """
    if file.exists() and not _is_whole(file):
        aside = file.with_name(f"{file.name}{ASIDE}")
        file.replace(aside)
        say(f"note: {file} was half made and held no run; it is {aside.name} now, and made anew")
    if file.exists():
        return
    new = file.with_name(f"{file.name}{NEW}")
    for left in file.parent.glob(f"{new.name}*"):
        left.unlink()
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{escaped(new)}")
    _initialize_tables(engine)
    engine.dispose()
    new.replace(file)


@contextmanager
def read(file: Path) -> Iterator[tuple[sqlite3.Connection, set[str]]]:
    """The database that a store is, and the names of its tables. Raises TrackingError where it is none."""
    try:
        with closing(sqlite3.connect(file, timeout=60)) as database:
            yield (
                database,
                {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")},
            )
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{file}: must be a SQLite store of MLflow's. Got: {error}. Move it away; `graft log` logs the last pass "
            "anew."
        ) from None


@dataclass(frozen=True)
class Health:
    """revision: of the tables, as Alembic names it; "" where there is none. is_whole: as this MLflow makes them."""

    revision: str
    is_whole: bool
    runs: int


def health(file: Path) -> Health:
    """Of a store that is there. Raises TrackingError where it is no database.

    Not opened as read only: what a killed process left half written is taken back by whoever opens it next.
    """
    from mlflow.store.db.utils import _get_latest_schema_revision

    with read(file) as (database, tables):
        version = "alembic_version" in tables and database.execute("SELECT * FROM alembic_version").fetchone()
        runs = database.execute("SELECT count(*) FROM runs").fetchone()[0] if "runs" in tables else 0
    revision = version[0] if version else ""
    return Health(revision, revision == _get_latest_schema_revision(), runs)


def _is_whole(file: Path) -> bool:
    """Whether it is as this MLflow makes it. Raises TrackingError where it has runs and is not, or is no database."""
    found = health(file)
    if found.runs and not found.is_whole:
        raise TrackingError(
            f"{file}: must have the tables of this MLflow, and holds {found.runs} runs of another one. "
            "Run `graft doctor --fix`, which copies it before it changes the tables; or move it away."
        )
    return found.is_whole


def migrate(file: Path) -> Path:
    """Give a store of an earlier MLflow the tables of this one; returns where it is as it was.

    Raises TrackingError where this MLflow cannot, as of a later one's.
    """
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine_with_retry

    before = file.with_name(f"{file.name}{BEFORE}{health(file).revision or 'unknown'}")
    new = file.with_name(f"{file.name}{NEW}")
    new.unlink(missing_ok=True)
    with closing(sqlite3.connect(file, timeout=60)) as here, closing(sqlite3.connect(new)) as there:
        here.backup(there)  # a whole state, also while another process writes
    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{escaped(new)}")
    try:
        _upgrade_db(engine)
    except Exception as error:
        new.unlink()
        raise TrackingError(
            f"{file}: must be a store that this MLflow can bring up to date. Got: {error}. It is as it was. "
            "Install the MLflow that made it (`pip install --upgrade mlflow`)."
        ) from None
    finally:
        engine.dispose()
    file.replace(before)
    new.replace(file)
    return before


def follow(file: Path, artifacts: str) -> None:
    """Where the project's folder has been moved or copied, its runs have their artifacts here.

    artifacts: the address of the project's own folder of artifacts.
    """
    name = artifacts.rpartition("/")[2]
    with closing(sqlite3.connect(file, timeout=60)) as database, database:
        noted = database.execute("SELECT value FROM experiment_tags WHERE key = ?", (PLACE,))
        for old in sorted({place for (place,) in noted} - {artifacts}):
            for table, column in PLACES.items():
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                    (artifacts, len(old) + 1, len(old) + 1, f"{old}/"),
                )
            database.execute(
                "UPDATE experiment_tags SET value = ? WHERE key = ? AND value = ?", (artifacts, PLACE, old)
            )
            say(f"note: the project was at {old.removeprefix('file://').removesuffix(f'/{name}')}; its runs follow it")
