"""What a check says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graft.config.schema import Params


class State(StrEnum):
    """broken: a run fails, or its result cannot be told from another one's. warning: worth a thought before."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """about: what was looked at, in a word or two. says: what was found. remedy: what the user can do, or "".

    fix: does it, and returns in a sentence what was done; None where only the user may decide.
    """

    about: str
    state: State
    says: str
    remedy: str = ""
    fix: Callable[[], str] | None = None


@dataclass(frozen=True)
class Project:
    """root: absolute. params: None where params.yaml cannot be read, which a check of its own says."""

    root: Path
    params: Params | None


Check = Callable[[Project], Iterator[Finding]]


def ok(about: str, says: str) -> Finding:
    return Finding(about, State.OK, says)


def warning(about: str, says: str, remedy: str) -> Finding:
    return Finding(about, State.WARNING, says, remedy)


def broken(about: str, says: str, remedy: str) -> Finding:
    return Finding(about, State.BROKEN, says, remedy)


def mended_by(finding: Finding, fix: Callable[[], str]) -> Finding:
    return replace(finding, fix=fix)
