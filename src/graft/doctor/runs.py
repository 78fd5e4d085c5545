"""Where MLflow keeps runs, and in what state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graft.doctor.finding import Finding, Project, broken, mended_by, ok
from graft.errors import TrackingError
from graft.tracking import server, sought, store


def tracking(project: Project) -> Iterator[Finding]:
    """The store is not made where there is none; a server is asked once."""
    file = server.store_file()
    if file is None:
        yield _answers()
        return
    if not file.exists():
        yield ok("MLflow", f"{file} is made by the first run")
        return
    try:
        health = store.health(file)
    except TrackingError as error:
        yield broken("MLflow", str(error), "`graft log` logs the last pass anew once the file is away.")
        return
    said = f"{file}, {health.runs} run{'s' if health.runs != 1 else ''}"
    if health.is_whole:
        yield ok("MLflow", said)
    elif health.runs:
        other = broken(
            "MLflow",
            f"{said}, with the tables of another MLflow than this one",
            "`graft doctor --fix` copies it, and then makes the tables those of this MLflow.",
        )
        yield mended_by(other, lambda: _migrated(file))
    else:
        half = broken(
            "MLflow", f"{file} is half made and holds no run", "`graft doctor --fix` or the next run makes it anew."
        )
        yield mended_by(half, lambda: _anew(file))


def _answers() -> Finding:
    """Of a server, or of a database that is not in a file: nothing is made there."""
    try:
        if server.is_remote():
            server.require_answer(server.uri())
        else:
            sought.of_pass("", "", server.ANSWER_WITHIN_SECONDS)
    except TrackingError as error:
        return broken("MLflow", str(error), "Start the server, or unset MLFLOW_TRACKING_URI.")
    return ok("MLflow", f"{server.shown()} answers")


def _migrated(file: Path) -> str:
    copy = store.migrate(file)
    return f"{file} has the tables of this MLflow; {copy.name} is what it was"


def _anew(file: Path) -> str:
    store.make_whole(file)
    return f"{file} is made anew"
