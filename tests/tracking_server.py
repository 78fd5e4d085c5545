"""A real `mlflow server` on loopback whose store is a private PostgreSQL: what a team has."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

INSTALLED = "/usr/lib/postgresql"
"""Where Debian puts each version's programs, which are not on the PATH."""

STARTS_WITHIN_SECONDS = 120
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""What a database may do that nobody needs after a crash."""


@dataclass(frozen=True)
class Server:
    """address: of the MLflow server. database: of its store, which may be used directly, too."""

    address: str
    database: str


@contextmanager
def running() -> Iterator[Server]:
    """Both run until the block ends. Skips where PostgreSQL is not installed."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="graft-server-") as name, _database(programs, Path(name)) as database:
        address = f"http://127.0.0.1:{_free_port()}"
        command = ["mlflow", "server", "--workers", "1", "--port", address.rpartition(":")[2]]
        command += ["--backend-store-uri", database, "--artifacts-destination", f"{name}/artifacts"]
        alone = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        alone["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes, for what graft does not use
        with _started(command, Path(name) / "mlflow.log", env=alone) as process:
            _wait_for(lambda: _answers(address), process, Path(name) / "mlflow.log")
            yield Server(address, database)


@contextmanager
def _database(programs: Path, folder: Path) -> Iterator[str]:
    """A new cluster that listens on a socket in `folder` alone; its address."""
    folder.chmod(0o755)
    place = folder / "postgres"
    place.mkdir()
    owner: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = str(place / "data")
    make = [
        programs / "initdb",
        "-D",
        data,
        "--auth=trust",
        "--username=graft",
        "--no-sync",
        "--locale=C",
        "-E",
        "UTF8",
    ]
    subprocess.run(make, cwd=place, check=True, capture_output=True, **owner)
    options = [word for setting in ("listen_addresses=", f"unix_socket_directories={place}", *QUICK)
               for word in ("-c", setting)]  # fmt: skip
    log = folder / "postgres.log"
    with _started([str(programs / "postgres"), "-D", data, *options], log, cwd=place, **owner) as process:
        _wait_for(lambda: (place / ".s.PGSQL.5432").exists(), process, log)
        yield f"postgresql+psycopg2://graft@/postgres?host={place}"


def _programs() -> Path:
    """The folder with `initdb` and `postgres`."""
    asked = shutil.which("pg_config")
    told = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=False).stdout if asked else ""
    versions = sorted(Path(INSTALLED).glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in (Path(told.strip()), *versions):
        if all((folder / name).is_file() for name in ("initdb", "postgres")):
            return folder
    pytest.skip("PostgreSQL is not installed here: `apt-get install postgresql` brings it")


@contextmanager
def _started(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """It and all that it starts end with the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's "fast shutdown", and what MLflow takes as Ctrl-C
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    began = time.monotonic()
    while not is_ready():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() - began < STARTS_WITHIN_SECONDS, log.read_text()
        time.sleep(0.1)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
