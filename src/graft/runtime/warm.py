"""The stages of one `dvc repro` share one start of Python's libraries.

Importing TensorFlow, MLflow and the like takes longer than most stages compute. So the first stage that DVC starts
brings up a server beside it, which imports those libraries and nothing of graft. Each later stage is a process forked
from it: it has the arguments, environment, folder and files of the `graft` command that DVC started, reads graft's
code anew, and ends with its exit code. The server ends with the `dvc` process. Without one a stage imports for itself.

On Linux only: elsewhere a process with these libraries cannot be forked safely. GRAFT_WARM=0 switches it off.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from graft.runtime import numerics

if TYPE_CHECKING:
    import psutil

VARIABLE = "GRAFT_WARM"
FOLLOWED = ("prepare", "extract", "train", "finetune")
"""Stages that others follow: these bring up a server, all stages use it."""

WAITING = ("extract", "train", "finetune")
"""Stages that would import TensorFlow too, and so wait for the server where they have just brought it up."""

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

LONGEST_REQUEST = 2**20

SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl(2)."""


def is_stage() -> bool:
    """Whether this command is a stage, which a warm process may run."""
    return len(sys.argv) > 1 and sys.argv[1] in (*FOLLOWED, "evaluate")


def run_there(entry: str) -> None:
    """Run this stage in a warm process and exit with its code; or bring up a server, and return.

    entry: `module:function` of the command line, called in the warm process. The environment is set for `numerics`
    already: the server imports TensorFlow with it.
    """
    command = sys.argv[1]
    if sys.platform != "linux" or os.environ.get(VARIABLE) == "0":
        return
    from graft.pipeline import session

    above = None if session.PROCESS in os.environ else session.process_above()
    if above is None:
        return
    address = _address(above)
    code = _ask(address, entry)
    if code is None and command in FOLLOWED:
        _start(address, above)
        code = _ask(address, entry) if command in WAITING else None
    if code is not None:
        os._exit(code)


def _address(above: psutil.Process) -> str:
    """The socket's address, in Linux's abstract namespace: it is gone with the process that listens.

    One for each `dvc` process, Python and checkout: no stage runs with other libraries than its own.
    """
    names = ("PYTHONPATH", "KERAS_HOME", *numerics.VARIABLES)
    python = f"{sys.executable}{[os.environ.get(name) for name in names]}"
    return f"\0graft-{above.pid}-{above.create_time():.2f}-{zlib.crc32(os.fsencode(python)):x}"


def _same_user(connection: socket.socket) -> bool:
    """Whether the other side is a process of this user; anyone can name an abstract socket."""
    _, user, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return bool(user == os.getuid())


# the command that DVC started


def _ask(address: str, entry: str) -> int | None:
    """The exit code of this command, run by the server; None where there is no server or it has failed."""
    with socket.socket(socket.AF_UNIX) as connection:
        worker = _requested(connection, address, entry)
        if worker is None:
            return None
        # An interrupt from the terminal reaches the stage itself: this process waits for how it ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: _pass_on(number, worker))
        told = _received(connection, 4)
        # A worker that is not minded any more is killed, see `_end_with`.
        code = -signal.SIGKILL if told is None else int.from_bytes(told, signed=True)
        return code if code >= 0 else _ended_by(-code)


def _ended_by(number: int) -> int:
    """Say that a signal has ended the command, which could say nothing itself; returns a shell's exit code for that."""
    from graft.runtime.progress import say

    name = next((one.name for one in signal.Signals if one == number), "unknown")
    why: dict[int, str] = {
        signal.SIGKILL: ", by the system or by hand; out of memory?",
        signal.SIGSEGV: ", a fault in one of the libraries",
        signal.SIGABRT: ", a fault in one of the libraries",
        signal.SIGBUS: ", a fault in one of the libraries, or a full disk under a mapped file",
    }
    say(f"graft: {sys.argv[1]} was ended by signal {number} ({name}){why.get(number, '')}")
    return 128 + number


def _requested(connection: socket.socket, address: str, entry: str) -> int | None:
    """The process that runs this command; None where none does."""
    request = {
        "entry": entry,
        "argv": sys.argv,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": _umask(),
    }
    data = json.dumps(request).encode()
    files = array.array("i", [0, 1, 2])
    try:
        connection.connect(address)
        if not _same_user(connection) or len(data) > LONGEST_REQUEST:
            return None
        connection.sendmsg([len(data).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        connection.sendall(data)
    except OSError:
        return None
    worker = _received(connection, 4)
    return None if worker is None else int.from_bytes(worker)


def _pass_on(number: int, process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _received(connection: socket.socket, n: int) -> bytes | None:
    """Exactly n bytes, or None where the other side has closed."""
    data = b""
    while len(data) < n:
        try:
            part = connection.recv(n - len(data))
        except ConnectionError:
            return None
        if not part:
            return None
        data += part
    return data


def _start(address: str, above: psutil.Process) -> None:
    """Bring up the server in the background; it answers as soon as it has imported TensorFlow."""
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):
        listener.bind(address)
        listener.listen()
        subprocess.Popen(
            [sys.executable, "-P", "-m", "graft.runtime.warm", str(above.pid), str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )


# the server


def serve(dvc_pid: int, listener: socket.socket) -> None:
    """Fork a stage for each request, until the `dvc` process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the children
    try:
        ended = os.pidfd_open(dvc_pid)
    except OSError:  # it has ended
        return
    _import_tensorflow()
    libraries = list(LIBRARIES)
    while True:
        ready, _, _ = select.select([listener.fileno(), ended], [], [], 0 if libraries else None)
        if ended in ready:
            return
        if ready:
            connection, _ = listener.accept()
            if _same_user(connection) and os.fork() == 0:
                os.close(ended)
                listener.close()
                _mind(connection, dvc_pid)
            connection.close()
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
    from graft.runtime.tensorflow import import_tensorflow

    with _importing():
        import_tensorflow()
    for name in [name for name in sys.modules if name.startswith("graft.")]:
        del sys.modules[name]


def _mind(connection: socket.socket, dvc_pid: int) -> NoReturn:
    """Start the stage and tell how it ends; it ends with the command that asked for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
        files = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files.frombytes(data)
        body = _received(connection, int.from_bytes(head))
        if body is None or len(files) != 3:
            os._exit(1)
        request = json.loads(body)
        minder = os.getpid()
        worker = os.fork()
        if worker == 0:
            _end_with(minder)
            connection.close()
            _become(request, list(files), dvc_pid)
            os._exit(_run(request["entry"]))
        for file in files:
            os.close(file)
        connection.sendall(worker.to_bytes(4))
        watched = os.pidfd_open(worker)
        ready, _, _ = select.select([watched, connection.fileno()], [], [])
        if watched not in ready:  # the command that asked for it was killed
            os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
        with suppress(OSError):
            connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
    except Exception:
        os._exit(1)
    os._exit(0)


def _end_with(parent: int) -> None:
    """The system kills this process when its parent ends, however that ends: nobody would watch it any more."""
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that was asked for
        os._exit(1)


def _become(request: dict[str, Any], files: list[int], dvc_pid: int) -> None:
    """Take over what a process has from the one that starts it."""
    from graft.pipeline import session

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.umask(request["umask"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"] | {session.PROCESS: str(dvc_pid)})
    sys.argv = request["argv"]
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(entry: str) -> int:
    """The exit code of the command in `sys.argv`. What would be done at the end of the process is done."""
    code: Any = 0
    try:
        module, function = entry.split(":")
        getattr(importlib.import_module(module), function)()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()  # the rest of an interpreter's end would copy every page that is shared with the server
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    serve(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
