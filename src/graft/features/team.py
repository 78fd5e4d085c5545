"""A cache for a team: what one person has computed, everyone has, through a bucket or a folder that they share.

It lies beside the cache of this machine, which stays what is read: before `extract` computes, values that are lacking
here are looked up in the packs there (`packs`), and what comes is checked by content. Which place that is, is a matter
of who runs graft and not of the project, so that variables say it and no file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from graft.features import cache, packs
from graft.runtime.progress import say
from graft.runtime.reading import storage

if TYPE_CHECKING:
    from graft.features.plan import Plan

VARIABLE = "GRAFT_CACHE_REMOTE"
"""An address, a folder, or the name of one of DVC's remotes."""

PUSH_VARIABLE = "GRAFT_CACHE_REMOTE_PUSH"
"""What is computed here goes there, too, where this says yes."""

YES = ("1", "yes", "true", "on")
NO = ("", "0", "no", "false", "off")

Open = Callable[[str], AbstractContextManager[packs.Place]]
Rate = Callable[[], float | None]
Around = Callable[["Plan", Collection[str]], AbstractContextManager[object]]


def around(open_place: Open, rate: Rate) -> Around:
    """What `extract` puts around its computation. rate: seconds for a forward pass here, None where nobody knows."""

    @contextmanager
    def shared(planned: Plan, sha256s: Collection[str]) -> Iterator[None]:
        where = os.environ.get(VARIABLE)
        if not where:
            yield
            return
        lacking = _lacking(planned, sha256s)
        answers = not lacking or _tried(where, lambda: _fetch(where, open_place, lacking, rate))
        yield
        if lacking and answers and _gives():
            _tried(where, lambda: _offer(where, open_place, set(lacking), sha256s))

    return shared


def _lacking(planned: Plan, sha256s: Collection[str]) -> dict[str, set[bytes]]:
    """Fingerprint -> keys of the values that the plan wants and this machine has not."""
    unique = list(dict.fromkeys(sha256s))
    found = {}
    for output in planned.outputs.values():
        for what, views in zip(output.keys, (range(1), range(1, planned.views)), strict=True):
            name = cache.name_of(what)
            keys = [cache.key_of((sha256, view)) for sha256 in unique for view in views]
            there = packs.has_here(name, keys)
            if lacking := {key for key, known in zip(keys, there, strict=True) if not known}:
                found[name] = lacking
    return found


def _fetch(where: str, open_place: Open, lacking: Mapping[str, set[bytes]], rate: Rate) -> None:
    with open_place(where) as there:
        moved = list(packs.fetch(there, lacking))
    passes = len(set().union(*(one.keys for one in moved)))
    if not passes:
        say(f"{VARIABLE}: nothing of what is lacking here is at {storage.cleaned(where)}")
        return
    each = rate()
    saved = f", about {passes * each:,.0f} s" if each is not None else ""
    say(f"{VARIABLE}: {_amount(moved)}, from {storage.cleaned(where)}, which save {passes:,} forward passes{saved}")


def _offer(where: str, open_place: Open, names: set[str], sha256s: Collection[str]) -> None:
    with open_place(where) as there:
        moved = list(packs.push(there, {bytes.fromhex(sha256) for sha256 in sha256s}, names))
    if any(one.n_values for one in moved):
        say(f"{PUSH_VARIABLE}: {_amount(moved)}, to {storage.cleaned(where)}")


def _amount(moved: Sequence[packs.Moved]) -> str:
    n_values, n_bytes = sum(one.n_values for one in moved), sum(one.n_bytes for one in moved)
    return f"{n_values:,} values, {n_bytes / 1e6:,.1f} MB"


def _gives() -> bool:
    said = os.environ.get(PUSH_VARIABLE, "").lower()
    if said not in (*YES, *NO):
        say(f"note: {PUSH_VARIABLE}: must be yes or no. Got {said!r}; taken for no")
    return said in YES


def _tried(where: str, action: Callable[[], None]) -> bool:
    """Whether the place could be used. Where it could not, a line says so: it only saves time."""
    try:
        action()
        return True
    except Exception as error:  # every storage raises its own; none of it may stop a stage
        said = storage.cleaned(error).removeprefix("--remote: ")
        say(f"note: {VARIABLE}: {storage.cleaned(where)} cannot be used ({said}); going on without")
        return False
