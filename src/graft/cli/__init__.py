"""The `graft` command: a command per stage, which `dvc.yaml` calls, and one per user action (`commands.py`).

Parses, calls, prints. What steers a run stands in params.yaml, where it reads and writes in dvc.yaml. Whatever needs
TensorFlow is imported where it is used, and so are the commands: a stage needs none of the others.
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Any, NoReturn

from graft.errors import FULL, GraftError

COLLECT_AT = (100_000, 50, 100)
"""Thresholds of Python's garbage collector, for libraries that make a million objects as they are imported.

With its own it takes a quarter of their start, and half of a process's end unless all that lives is frozen then.
"""

INTERRUPTED = 130
"""A shell's exit code for what Ctrl-C has ended."""


def __getattr__(name: str) -> Any:
    """`app` is all commands."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from graft.cli.commands import app

    return app


def run() -> None:
    """The command in `sys.argv`: every GraftError becomes one message and its exit code."""
    gc.set_threshold(*COLLECT_AT)
    atexit.register(gc.freeze)
    try:
        _command()
    except GraftError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _fail(
            f"{error.filename or 'a file'}: could not be written: {error.strerror}. Make room, or let GRAFT_CACHE_DIR "
            "and `dvc cache dir` name another disk, and run again: finished stages and computed features are kept."
        )


def _command() -> None:
    """The command in `sys.argv`; of a stage as `dvc.yaml` has it, which has no options, the stage alone."""
    from graft.cli import stages

    stage = {one.__name__: one for one in stages.COMMANDS}.get(sys.argv[1]) if len(sys.argv) == 2 else None
    if stage is not None:
        stage()
        return
    from graft.cli.commands import app

    app(prog_name="graft")


def _fail(message: str, exit_code: int = 1) -> NoReturn:
    import typer

    typer.secho(f"graft: {message}", err=True, fg="red" if sys.stderr.isatty() else None)
    sys.exit(exit_code)
