"""Every error a user can mend. `graft.cli.run` turns them into one message and exit code 1, or its own.

GraftError
├── ParamsError        params.yaml does not say what graft needs
├── SurroundingsError  the environment stands against what params.yaml asks for
├── DataError          images, labels or splits are not as declared
├── BackboneError      a network or its weights cannot be had as asked
├── StaleError         a file in the pipeline does not belong to the others
├── GateError          two ways to compute the same prediction disagree
├── TrainingError      training cannot start or has diverged
├── TrackingError      the MLflow store or server cannot be used
└── NotJudgedError     what a command should judge cannot be had; exit code 2

A message says where (the YAML key or the file), what was expected, what came, and what to do.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""How the system says that nothing more fits on a disk, in a quota, or in a file."""


class GraftError(Exception):
    """Base of all errors that are the user's to mend."""

    exit_code = 1


class ParamsError(GraftError):
    """One bullet per fault, all faults at once."""

    def __init__(self, path: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        plural = "fault" if len(faults) == 1 else "faults"
        bullets = "\n".join(f"  - {fault}" for fault in faults)
        super().__init__(f"{path}: {len(faults)} {plural}\n{bullets}")


class SurroundingsError(GraftError):
    pass


class DataError(GraftError):
    pass


class BackboneError(GraftError):
    pass


class StaleError(GraftError):
    pass


class GateError(GraftError):
    pass


class TrainingError(GraftError):
    pass


class TrackingError(GraftError):
    pass


class NotJudgedError(GraftError):
    """Of a command whose exit code 1 is a verdict."""

    exit_code = 2


def listing(names: Iterable[object], most: int = 10) -> str:
    """'a, b, c and 7 more'"""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def unknown(got: object, known: Iterable[str], most: int = 12) -> str:
    """'must be one of a, b, c. Got 'd'. Did you mean 'c'?' -- the one sentence for unknown names."""
    names = list(known)
    shown = ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
    close = get_close_matches(str(got), names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"must be one of {shown}. Got {got!r}.{hint}"


def without_credentials(text: str) -> str:
    """Addresses in a text without what stands for a person: a user and password before the host, a signature behind."""
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", re.sub(r"://[^\s/'\"]*@", "://", text))
