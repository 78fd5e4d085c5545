"""Imports the libraries, and forks a process for each stage, until the `dvc` process has ended."""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from graft.runtime.warm import ahead, minder, wire

LIBRARIES = (
    "pandas",
    "pydantic",
    "typer",
    "ruamel.yaml",
    "simplejpeg",
    "PIL.ImageEnhance",
    "PIL.ImageStat",
    "lmdb",
    "platformdirs",
    "rich.console",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "sklearn.metrics",
    "scipy.stats",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "mlflow.pyfunc",
    "mlflow.models.display_utils",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "mlflow.tracing.processor.mlflow_v3",
    "mlflow.tracing.processor.otel",
    "jinja2",
    "git",
    "filelock",
    "importlib_metadata",
    "email.headerregistry",
)
"""What is imported after TensorFlow, one by one as long as no stage is asked for.

Not openvino, which starts a thread as it is imported.
"""


def serve(dvc_pid: int, listener: socket.socket) -> None:
    """Run a stage for each request, until the `dvc` process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the children
    try:
        ended = os.pidfd_open(dvc_pid)
    except OSError:  # it has ended
        return

    following: ahead.Ahead | None = None

    def let_go() -> None:
        """In what is forked from this process: closes what only this one has a use for."""
        os.close(ended)
        listener.close()
        if following:
            following.connection.close()

    _import_tensorflow()
    libraries = list(LIBRARIES)
    while True:
        ready, _, _ = select.select([listener.fileno(), ended], [], [], 0 if libraries else None)
        if ended in ready:
            return
        if ready:
            connection, _ = listener.accept()
            with connection:
                asked = wire.receive(connection, 3) if wire.same_user(connection) else None
                if asked is None:
                    continue
                request, files = asked
                taken_over = following is not None and following.takes_over(connection, request, files)
                if not taken_over and os.fork() == 0:
                    let_go()
                    minder.start(connection, request, files, dvc_pid)
                wire.close(files)
            if following:
                following.connection.close()
            following = ahead.begin(request, dvc_pid, let_go)
        elif libraries:
            with _importing(), suppress(Exception):  # without one, a stage imports it itself, or says why it cannot
                importlib.import_module(libraries.pop(0))


@contextmanager
def _importing() -> Iterator[None]:
    """Nothing is collected meanwhile, and what was made is left alone from then on."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _import_tensorflow() -> None:
    """And nothing of graft's stays: a stage reads its own code when it starts."""
    from graft.runtime.computing.tensorflow import import_tensorflow

    with _importing():
        import_tensorflow()
    for name in [name for name in sys.modules if name.startswith("graft.")]:
        del sys.modules[name]


if __name__ == "__main__":
    serve(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
