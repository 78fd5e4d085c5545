"""A process forked from the server, which starts the one that runs a stage, and tells the command how that ended."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from graft.runtime.warm import wire

SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl(2)."""


def start(connection: socket.socket, request: dict[str, Any], files: list[int], dvc_pid: int) -> NoReturn:
    """Start the stage and tell how it ends; it ends with the command that asked for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        minder = os.getpid()
        worker = os.fork()
        if worker == 0:
            end_with(minder)
            connection.close()
            run(request, files, dvc_pid)
        wire.close(files)
        mind(connection, worker)
    except Exception:
        os._exit(1)
    os._exit(0)


def mind(connection: socket.socket, worker: int) -> None:
    """Tell the command which process runs it, and how that has ended."""
    with suppress(OSError):  # the command was killed: seen below
        connection.sendall(worker.to_bytes(4))
    watched = os.pidfd_open(worker)
    ready, _, _ = select.select([watched, connection.fileno()], [], [])
    if watched not in ready:  # the command that asked for it was killed
        os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    with suppress(OSError):
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))


def end_with(parent: int | None) -> None:
    """The system kills this process when its parent ends, however that ends: nobody would watch it any more.

    parent: its process; None for: not any longer.
    """
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, 0 if parent is None else signal.SIGKILL)
    if parent is not None and os.getppid() != parent:  # it ended before that was asked for
        os._exit(1)


def surround(request: dict[str, Any]) -> None:
    """Take over folder and environment from the command."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])


def run(request: dict[str, Any], files: list[int], dvc_pid: int) -> NoReturn:
    """Take over what a process has from the one that starts it, run its command, and end with its exit code."""
    from graft.pipeline import session

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.umask(request["umask"])
    surround(request)
    os.environ[session.PROCESS] = str(dvc_pid)
    sys.argv = request["argv"]
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os._exit(_exit_code(request["entry"]))


def called(name: str, *arguments: str) -> None:
    """name: `module:function`."""
    module, function = name.split(":")
    getattr(importlib.import_module(module), function)(*arguments)


def _exit_code(entry: str) -> int:
    """Of the command in `sys.argv`. What would be done at the end of the process is done."""
    code: Any = 0
    try:
        called(entry)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()  # the rest of an interpreter's end would copy every page that is shared with the server
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)
