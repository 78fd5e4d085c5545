"""What stages took, kept as each of them ends, and what the next one will take by that.

Records lie in graft's own cache, under what a stage's speed depends on. No output depends on them: losing one costs an
estimate.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.pipeline import session
from graft.planning import workload
from graft.runtime import progress
from graft.runtime.database import Database

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths
    from graft.planning.workload import Amount
    from graft.training.fit import OnEpoch

KIND = "durations"

ENOUGH = 0.25
"""A rate over fewer passes than this share of those behind the kept one does not take its place: few tell little."""


@dataclass(frozen=True)
class Record:
    """What a stage took. seconds: in all. units: what it did many times over (`workload.Amount`), 0 for what is not
    counted. each: seconds for one of them, None where that is not known."""

    seconds: float
    units: int
    each: float | None


@dataclass(frozen=True)
class Seconds:
    """From low to high; the same where nothing makes a difference."""

    low: float
    high: float


class Watch:
    """Follows a stage while it runs."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._given: tuple[Params, Paths] | None = None
        self._epochs: list[tuple[int, float]] = []

    def of(self, params: Params, paths: Paths) -> tuple[Params, Paths]:
        """Of which pass; returns the same. What fails before is not recorded."""
        self._given = params, paths
        return params, paths

    def following(self, on_epoch: OnEpoch) -> OnEpoch:
        """The same callback, whose calls are noted."""

        def follow(epoch: int, metrics: dict[str, float]) -> None:
            self._epochs.append((epoch, time.monotonic()))
            on_epoch(epoch, metrics)

        return follow

    def keep(self, seconds: float) -> None:
        """The stage has come to its end after so many seconds."""
        if self._given is None:
            return
        params, paths = self._given
        units, each = self._passes() if self.stage == "extract" else self._steps(params, paths)
        counted = {"passes": units, "wanted": _wanted(params, paths)} if self.stage == "extract" else {}
        session.note_took(self.stage, {"seconds": round(seconds, 3), "each": each, **counted})
        _keep(workload.described(self.stage, params), Record(seconds, units, each))

    @staticmethod
    def _passes() -> tuple[int, float | None]:
        """Forward passes, and seconds for one."""
        done = [one for one in progress.tracked if one.what.startswith("extracting")]
        timed = [(one.n, one.each) for one in done if one.each is not None]
        n = sum(one.n for one in done)
        return n, sum(n * each for n, each in timed) / sum(n for n, _ in timed) if timed else None

    def _steps(self, params: Params, paths: Paths) -> tuple[int, float | None]:
        """Steps of a training, and seconds for one: not of the first epoch, in which graphs are made."""
        trained = [(epoch, when) for epoch, when in self._epochs if epoch]
        if not trained or self.stage not in ("train", "finetune"):
            return 0, None
        n = workload.n_train(paths.split) or 1
        (first, began), (last, ended) = trained[0], trained[-1]
        one = getattr(params, self.stage)
        units, later = (workload.steps(one, n, epochs).most for epochs in (last, last - first))
        return units, (ended - began) / later if later else None


@contextmanager
def watched(stage: str) -> Iterator[Watch]:
    """Around a stage, its start too: what it took is kept if it comes to its end."""
    began, watch = time.monotonic(), Watch(stage)
    yield watch
    watch.keep(time.monotonic() - began)


def _wanted(params: Params, paths: Paths) -> int:
    """Forward passes that the arrays stand for."""
    import pandas as pd

    from graft.features import plan

    if all(plan.reason(params, output) for output in (plan.FEATURES, plan.ACTIVATIONS)):
        return 0
    table = pd.read_csv(paths.catalogue, usecols=["sha256", "state"], dtype=str, keep_default_na=False)
    return int(table.loc[table["state"] == "used", "sha256"].nunique()) * (1 + params.extract.views)


def _key(what: dict[str, Any]) -> bytes:
    return hashlib.blake2b(json.dumps(what, sort_keys=True, default=str).encode(), digest_size=20).digest()


def _keep(what: dict[str, Any], record: Record) -> None:
    before = _kept(what)
    units, each = record.units, record.each
    if before is not None and before.each is not None and (each is None or units < ENOUGH * before.units):
        each, units = before.each, before.units
    rest = record.seconds - record.units * (record.each or each or 0)
    values = {"units": units, "each": each, "rest": max(rest, 0.0), "seconds": record.seconds}
    Database.opened(KIND).put([(_key(what), json.dumps(values).encode())])


@dataclass(frozen=True)
class _Kept:
    units: int
    each: float | None
    rest: float
    seconds: float


def _kept(what: dict[str, Any]) -> _Kept | None:
    value = Database.opened(KIND).get([_key(what)])[0]
    try:
        return None if value is None else _Kept(**json.loads(value))
    except (ValueError, TypeError):  # another version's
        return None


def estimate(stage: str, params: Params, amount: Amount | None) -> Seconds | None:
    """What a stage will take, by what it took before, or by what `graft backbones measure` found; None where there is
    neither. amount: None where not known."""
    kept = _kept(workload.described(stage, params))
    each = rate(stage, params)
    if amount is not None and each is not None:
        rest = kept.rest if kept is not None else 0.0
        return Seconds(rest + amount.fewest * each, rest + amount.most * each)
    if kept is None or (stage == "extract" and amount is not None and amount.most):
        return None
    return Seconds(kept.seconds, kept.seconds)


def rate(stage: str, params: Params) -> float | None:
    """Seconds for one of a stage's units, as recorded or measured; None where neither was done."""
    kept = _kept(workload.described(stage, params))
    if kept is not None and kept.each is not None:
        return kept.each
    return _measured(params) if stage == "extract" else None


def _measured(params: Params) -> float | None:
    """Seconds for an image, as `graft backbones measure` knows them: at the usual size and full width."""
    from graft.backbones.automatic import FULL_WIDTH
    from graft.backbones.table import BACKBONES

    row, given = BACKBONES.get(params.backbone.name), params.backbone
    if row is None or given.input_size != row.default_input_size or given.width not in (None, FULL_WIDTH):
        return None
    from graft.features import speed

    known = speed.known(row)
    return None if known is None else 1 / known
