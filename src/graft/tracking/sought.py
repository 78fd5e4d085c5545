"""The runs of a pass, looked for without waiting long and without making anything.

A store that is a database, in a file or on a server of its own, is read as it is: MLflow would take seconds to start,
make its tables where there are none, and try a dead database for minutes.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from graft.errors import TrackingError
from graft.tracking import server
from graft.tracking.identity import PASS, search

RUNS_OF_PASS = (
    "SELECT runs.run_uuid, runs.name FROM runs JOIN experiments ON runs.experiment_id = experiments.experiment_id "
    "JOIN tags ON tags.run_uuid = runs.run_uuid WHERE experiments.name = :experiment AND "
    "runs.lifecycle_stage = 'active' AND tags.key = :tag AND tags.value = :this ORDER BY runs.start_time DESC"
)
TAGS = "SELECT tags.key, tags.value FROM tags WHERE tags.run_uuid = :run"
"""In words that every database has which MLflow takes."""


@dataclass(frozen=True)
class Found:
    run_id: str
    name: str
    tags: dict[str, str]

    @property
    def shown(self) -> str:
        return f"{self.name} ({self.run_id})"


def of_pass(experiment: str, this: str, within_seconds: float) -> list[Found]:
    """The newest first; none where there is no store yet. this: the pass's id. Raises TrackingError."""
    file = server.store_file()
    wanted = {"experiment": experiment, "tag": PASS, "this": this}
    if file is not None:
        return _in_file(file, wanted, within_seconds) if file.is_file() else []
    if server.is_remote():
        return _in_server(experiment, this, within_seconds)
    return _in_database(wanted, within_seconds)


def _in_file(file: Path, wanted: dict[str, str], within_seconds: float) -> list[Found]:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=within_seconds)) as database:
            rows = database.execute(RUNS_OF_PASS, wanted).fetchall()
            return [Found(run_id, name, dict(database.execute(TAGS, {"run": run_id}))) for run_id, name in rows]
    except sqlite3.Error as error:
        raise TrackingError(
            f"{file}: must be a SQLite store of MLflow's. Got: {error}. `graft doctor` says more."
        ) from None


def _in_database(wanted: dict[str, str], within_seconds: float) -> list[Found]:
    """By SQLAlchemy, as MLflow itself does; PostgreSQL's drivers and MySQL's take the same word for their patience."""
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        where = sqlalchemy.make_url(server.uri())
        patient = where.get_backend_name() in ("postgresql", "mysql")
        patience = {"connect_timeout": round(within_seconds)} if patient else {}
        engine = sqlalchemy.create_engine(where, connect_args=patience, poolclass=sqlalchemy.NullPool)
        with closing(engine.connect()) as database:
            if not sqlalchemy.inspect(database).has_table("runs"):
                return []  # MLflow makes its tables when it is first used
            rows = database.execute(sqlalchemy.text(RUNS_OF_PASS), wanted).fetchall()
            tags = sqlalchemy.text(TAGS)
            return [Found(one, name, dict(map(tuple, database.execute(tags, {"run": one})))) for one, name in rows]
    except (SQLAlchemyError, ArgumentError, ImportError) as error:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {server.shown()} must be a database that answers. Got: {server.reason(error)}. "
            "Start it, or unset the variable to use mlflow.db in the project."
        ) from None


def _in_server(experiment: str, this: str, within_seconds: float) -> list[Found]:
    with server.faults():
        client = server.looking(within_seconds)
        there = client.get_experiment_by_name(experiment)
        if there is None:
            return []
        runs = search(client, there.experiment_id, {PASS: this})
        return [Found(one.info.run_id, one.info.run_name, one.data.tags) for one in runs]
