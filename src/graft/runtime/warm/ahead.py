"""A process for the stage that follows the one that runs: it does what does not depend on that, and waits.

It runs the stage where that is asked for from the same folder, in the same environment, and no file of graft's was
changed since. Else, and where it could not do its work, another process runs the stage from the beginning
and says what there is to say.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from graft.runtime import cores
from graft.runtime.warm import libraries, minder, wire

FOLLOW = {"train": ("finetune", "evaluate"), "finetune": ("evaluate",)}
"""A stage -> those that can begin beside it, one after the other. `prepare` and `extract` have work for every core."""

NEED_LIBRARIES = ("evaluate",)

NO, YES, READY = b"\0", b"\1", b"\2"


@dataclass
class Ahead:
    """A stage that is begun. connection: to what minds its process. busy: whether that is still at its work."""

    connection: socket.socket
    busy: bool = True

    def fileno(self) -> int:
        return self.connection.fileno()

    def has_told(self) -> None:
        """There is something on the connection: that the work is done, or an end."""
        wire.received(self.connection, 1)
        self.busy = False

    def takes_over(self, command: socket.socket, request: dict[str, Any], files: list[int]) -> bool:
        """Whether the command, which is for this stage, is now in the hands of what minds its process."""
        try:
            wire.send(self.connection, request, [command.fileno(), *files])
        except OSError:
            return False
        return True


def begin(stage: str, request: dict[str, Any], dvc_pid: int, let_go: Callable[[], None]) -> Ahead:
    """A stage that follows the one of `request`; it ends when its connection is closed.

    let_go: closes, in a process forked from this one, what that one has no use for.
    """
    ours, theirs = socket.socketpair()
    server = os.getpid()
    if os.fork() == 0:
        minder.end_with(server)
        let_go()
        ours.close()
        _mind(theirs, request, stage, dvc_pid)
    theirs.close()
    return Ahead(ours)


def _mind(server: socket.socket, request: dict[str, Any], stage: str, dvc_pid: int) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        ours, theirs = socket.socketpair()
        here = os.getpid()
        worker = os.fork()
        if worker == 0:
            minder.end_with(here)
            server.close()
            ours.close()
            _work(theirs, request, stage, dvc_pid)
        theirs.close()
        ready, _, _ = select.select([ours, server], [], [])
        if ours in ready:
            wire.received(ours, 1)
            with suppress(OSError):  # the command was handed over, and the connection closed
                server.sendall(READY)
        asked = wire.receive(server, 4)
        if asked is None:
            os._exit(0)
        minder.end_with(None)
        request, (command, *files) = asked
        connection = socket.socket(fileno=command)
        if _takes(ours, connection, request, files):
            wire.close(files)
            minder.mind(connection, worker)
        else:
            os.kill(worker, signal.SIGKILL)
            minder.start(connection, request, files, dvc_pid)
    except Exception:
        os._exit(1)
    os._exit(0)


def _takes(worker: socket.socket, command: socket.socket, request: dict[str, Any], files: list[int]) -> bool:
    """Whether the process runs it; said as soon as it has done its work. This process ends where the command does."""
    try:
        wire.send(worker, request, files)
    except OSError:  # it has ended
        return False
    answer: bytes | None = READY
    while answer == READY:
        ready, _, _ = select.select([worker, command], [], [])
        if command in ready:  # it says nothing more: it has ended
            os._exit(0)
        answer = wire.received(worker, 1)
    return answer == YES


def _work(minding: socket.socket, request: dict[str, Any], stage: str, dvc_pid: int) -> NoReturn:
    try:
        found = _surroundings(request)
        with _first_to_go():
            minder.surround(request)
            if stage in NEED_LIBRARIES:
                for name in libraries.LIBRARIES:
                    libraries.import_one(name)
            minder.called(request["ahead"], stage)
            minding.sendall(READY)
            asked = wire.receive(minding, 3)
        if asked is None:
            os._exit(0)
        fits = _surroundings(asked[0]) == found
        minding.sendall(YES if fits else NO)
    except BaseException:  # the stage itself says what is wrong
        os._exit(1)
    if not fits:
        os._exit(0)
    minding.close()
    minder.run(*asked, dvc_pid)


@contextmanager
def _first_to_go() -> Iterator[None]:
    """Inside, where memory is short, the system ends this process rather than the stage that runs."""
    file = Path("/proc/self/oom_score_adj")
    before = file.read_text()
    with suppress(OSError):
        file.write_text("1000")
    yield
    with suppress(OSError):
        file.write_text(before)


def _surroundings(request: dict[str, Any]) -> tuple[object, ...]:
    """What the work depends on: the command's folder and environment, but what DVC says of the stage in it; cores; and
    every file of graft's, its tables too, as the system tells whether it has changed."""
    environment = {name: value for name, value in request["environment"].items() if not name.startswith("DVC_")}
    package = Path(__file__).parents[2]
    files = (file for file in package.rglob("*") if "__pycache__" not in file.parts)
    written = {str(file): _state(file.stat()) for file in files if file.is_file()}
    return request["folder"], environment, cores.available(), written


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
