"""The command that DVC started: it asks the server for a process that runs it, and ends as that does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from graft.runtime.warm import wire

if TYPE_CHECKING:
    import psutil

VARIABLE = "GRAFT_WARM"
FOLLOWED = ("prepare", "extract", "train", "finetune")
"""Stages that others follow: these bring up a server, all stages use it."""

WAITING = ("extract", "train", "finetune")
"""Stages that would import TensorFlow too, and so wait for the server where they have just brought it up."""


def is_stage() -> bool:
    """Whether this command is a stage, which a warm process may run."""
    return len(sys.argv) > 1 and sys.argv[1] in (*FOLLOWED, "evaluate")


def run_there(entry: str, ahead: str) -> None:
    """Run this stage in a warm process and exit with its code; or bring up a server, and return.

    entry: `module:function` of the command line, called in the warm process. ahead: the same, called with the name of
    the stage that follows, in the process that will run that. The environment is set for `numerics` already: the server
    imports TensorFlow with it.
    """
    stage = sys.argv[1]
    if sys.platform != "linux" or os.environ.get(VARIABLE) == "0":
        return
    from graft.pipeline import session

    above = None if session.PROCESS in os.environ else session.process_above()
    if above is None:
        return
    address = wire.address(above)
    try:
        code = _ask(address, entry, ahead)
        if code is None and stage in FOLLOWED:
            _start(address, above)
            code = _ask(address, entry, ahead) if stage in WAITING else None
    except KeyboardInterrupt:  # before a process has begun: from then on it says so
        code = _interrupted()
    if code is not None:
        os._exit(code)


def _ask(address: str, entry: str, ahead: str) -> int | None:
    """The exit code of this command, run by the server; None where there is no server or it has failed."""
    with socket.socket(socket.AF_UNIX) as connection:
        worker = _requested(connection, address, entry, ahead)
        if worker is None:
            return None
        # An interrupt from the terminal reaches the stage itself: this process waits for how it ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: _pass_on(number, worker))
        told = wire.received(connection, 4)
        # A worker that is not minded any more is killed, see `minder.end_with`.
        code = -signal.SIGKILL if told is None else int.from_bytes(told, signed=True)
        return code if code >= 0 else _ended_by(-code)


def _interrupted() -> int:
    """Say so; returns a shell's exit code for that."""
    from graft.runtime.progress import say

    say("graft: interrupted")
    return 128 + signal.SIGINT


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


def _requested(connection: socket.socket, address: str, entry: str, ahead: str) -> int | None:
    """The process that runs this command; None where none does."""
    request = {
        "entry": entry,
        "ahead": ahead,
        "argv": sys.argv,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": _umask(),
    }
    try:
        connection.connect(address)
        if not wire.same_user(connection):
            return None
        wire.send(connection, request, [0, 1, 2])
    except OSError:
        return None
    worker = wire.received(connection, 4)
    return None if worker is None else int.from_bytes(worker)


def _pass_on(number: int, process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _start(address: str, above: psutil.Process) -> None:
    """Bring up the server in the background; it answers as soon as it has imported TensorFlow."""
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):
        listener.bind(address)
        listener.listen()
        subprocess.Popen(
            [sys.executable, "-P", "-m", "graft.runtime.warm.server", str(above.pid), str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
