"""Imports TensorFlow, and forks a process for each stage, until the `dvc` process has ended."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from typing import Any

from graft.runtime.warm import ahead, libraries, minder, wire

SECONDS = 5
"""A command has for its request, which is there at once unless it was stopped in the middle."""

NOTHING_BEGINS_BESIDE = ("prepare", "extract")


class Server:
    """listener: where requests come. ended: tells when the `dvc` process, dvc_pid, has ended."""

    def __init__(self, listener: socket.socket, ended: int, dvc_pid: int) -> None:
        self._listener, self._ended, self._dvc_pid = listener, ended, dvc_pid
        self._libraries = list(libraries.LIBRARIES)
        self._stage = "prepare"
        """Of the last request."""
        self._last: dict[str, Any] = {}
        self._to_begin: list[str] = []
        """Stages that can begin beside the one of the last request."""
        self._begun: dict[str, ahead.Ahead] = {}

    def serve(self) -> None:
        """Run a stage for each request, until the `dvc` process has ended; between requests, one thing at a time: what
        the next stages can do before their turn, or beside `prepare` and `extract`, where none can, libraries."""
        while True:
            busy = [one for one in self._begun.values() if one.busy]
            at_work = not busy and (self._to_begin or (self._libraries and self._stage in NOTHING_BEGINS_BESIDE))
            watched: list[Any] = [self._listener, self._ended, *busy]
            ready, _, _ = select.select(watched, [], [], 0 if at_work else None)
            if self._ended in ready:
                return
            if self._listener in ready:
                self._answer()
            elif busy:
                busy[0].has_told()
            elif self._to_begin:
                stage = self._to_begin.pop(0)
                self._begun[stage] = ahead.begin(stage, self._last, self._dvc_pid, self._let_go)
            else:
                libraries.import_one(self._libraries.pop(0))

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            wire.wait_at_most(connection, SECONDS)
            asked = wire.receive(connection, 3) if wire.same_user(connection) else None
            if asked is None:
                return
            request, files = asked
            self._stage = stage = request["argv"][1]
            begun = self._begun.get(stage)
            if not (begun and begun.takes_over(connection, request, files)) and os.fork() == 0:
                self._let_go()
                minder.start(connection, request, files, self._dvc_pid)
            wire.close(files)
        following = ahead.FOLLOW.get(stage, ())
        for name in set(self._begun) - (set(following) if begun else set()):
            self._begun.pop(name).connection.close()
        self._last, self._to_begin = request, [name for name in following if name not in self._begun]

    def _let_go(self) -> None:
        """In what is forked from this process: closes what only this one has a use for."""
        os.close(self._ended)
        self._listener.close()
        for one in self._begun.values():
            one.connection.close()


def main(dvc_pid: int, listener: socket.socket) -> None:
    """Import TensorFlow, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the children
    try:
        ended = os.pidfd_open(dvc_pid)
    except OSError:  # it has ended
        return
    libraries.import_tensorflow()
    Server(listener, ended, dvc_pid).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
