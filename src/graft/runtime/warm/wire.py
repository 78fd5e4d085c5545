"""How the command, the server and what it forks talk: JSON and open files, between processes of one user."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import sys
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graft.runtime.computing import numerics

if TYPE_CHECKING:
    import psutil

LONGEST = 2**20
"""Bytes of a message."""


def address(above: psutil.Process) -> str:
    """The socket's address, in Linux's abstract namespace: it is gone with the process that listens.

    One for each `dvc` process, Python and checkout: no stage runs with other libraries than its own.
    """
    names = ("PYTHONPATH", "KERAS_HOME", *numerics.VARIABLES)
    python = f"{sys.executable}{[os.environ.get(name) for name in names]}"
    return f"\0graft-{above.pid}-{above.create_time():.2f}-{zlib.crc32(os.fsencode(python)):x}"


def same_user(connection: socket.socket) -> bool:
    """Whether the other side is a process of this user; anyone can name an abstract socket."""
    _, user, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return bool(user == os.getuid())


def wait_at_most(connection: socket.socket, seconds: int) -> None:
    """For what the other side sends. Not `settimeout`: that would hold for whoever else has this socket, too."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))


def send(connection: socket.socket, message: dict[str, Any], files: Sequence[int]) -> None:
    """Raises OSError where the other side does not listen, or the message is longer than LONGEST."""
    data = json.dumps(message).encode()
    if len(data) > LONGEST:
        raise OSError(f"a message of {len(data)} bytes")
    passed = array.array("i", files)
    connection.sendmsg([len(data).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    connection.sendall(data)


def receive(connection: socket.socket, n_files: int) -> tuple[dict[str, Any], list[int]] | None:
    """What was sent, or None where the other side has closed, or has sent nothing for as long as the socket waits."""
    files = array.array("i")
    try:
        head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(n_files * files.itemsize))
    except OSError:
        return None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data)
    body = received(connection, int.from_bytes(head)) if len(head) == 4 else None
    if body is None or len(files) != n_files:
        close(files)
        return None
    return json.loads(body), list(files)


def received(connection: socket.socket, n: int) -> bytes | None:
    """Exactly n bytes, or None where the other side has closed."""
    data = b""
    while len(data) < n:
        try:
            part = connection.recv(n - len(data))
        except OSError:
            return None
        if not part:
            return None
        data += part
    return data


def close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
