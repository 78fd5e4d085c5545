"""MLflow's SQLite file: made whole or not at all, and at home where the project is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from graft.errors import TrackingError
from graft.runtime.progress import say

NEW, ASIDE = ".new", ".half-made"

PLACES = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
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


def _is_whole(file: Path) -> bool:
    """Whether all tables are there. Raises TrackingError where the file has runs and is not, or is no database."""
    try:
        with closing(sqlite3.connect(file, timeout=60)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            version = "alembic_version" in tables and database.execute("SELECT * FROM alembic_version").fetchone()
            if version and "runs" in tables and "experiments" in tables:
                return True
            runs = database.execute("SELECT count(*) FROM runs").fetchone()[0] if "runs" in tables else 0
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{file}: must be a SQLite store of MLflow's. Got: {error}. Move it away; `graft log` logs the last pass "
            "anew."
        ) from None
    if runs:
        raise TrackingError(
            f"{file}: must have all tables of MLflow's, and holds {runs} runs but not its version. Run `mlflow db "
            f"upgrade sqlite:///{file.name}`, or move it away."
        )
    return False


def follow(file: Path, artifacts: str) -> None:
    """Where the project's folder has been moved or copied, its runs have their artifacts here.

    artifacts: the address of the project's own folder of artifacts.
    """
    with closing(sqlite3.connect(file, timeout=60)) as database, database:
        known = {place for (place,) in database.execute("SELECT artifact_location FROM experiments") if place}
        name = artifacts.rpartition("/")[2]
        former = [place for place in known if place.startswith("file://") and place.endswith(f"/{name}")]
        for old in former:
            if old == artifacts:
                continue
            for table, column in PLACES.items():
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ?",
                    (artifacts, len(old) + 1, old, f"{old}/%"),
                )
            say(f"note: the project was at {old.removeprefix('file://').removesuffix(f'/{name}')}; its runs follow it")
