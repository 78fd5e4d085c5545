"""Programs that stay ready and measure when they are asked, so that several take turns and none is timed as it starts.

Imports nothing but the standard library: it runs in Pythons without graft, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

READY = "ready"


class Worker:
    """A program that ends in `serve`. What it says goes to `log`, which is shown where it fails."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._command, self._log = command, log
        with log.open("w") as said:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=dict(environment)
            )

    def ask(self, name: str) -> Any:
        """What `serve` of the program has by this name. Raises SystemExit, with what it said, where it fails."""
        asked, answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        try:
            asked.write(name + "\n")
            asked.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit(
                f"{' '.join(self._command)} failed when asked for {name}:\n{self._log.read_text()[-4000:]}"
            )
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()


def serve(ways: Mapping[str, Callable[[], Any]]) -> None:
    """Answer each line of standard input, a name, with what the way of that name gives, as a line of JSON.

    Whatever else is printed goes to standard error. `ready` is answered as soon as the program is.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name = line.strip()
        answers.write(json.dumps(True if name == READY else ways[name]()) + "\n")
        answers.flush()
