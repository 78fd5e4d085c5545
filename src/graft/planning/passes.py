"""How many examples must go through the frozen network, what graft's cache holds of them, and what that writes.

The network is built, since its weights and shapes are part of the cache's keys: a few seconds where `extract` runs.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.errors import BackboneError
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from graft.runtime.database import Database
from graft.runtime.progress import hushed

if TYPE_CHECKING:
    from graft.backbones.build import Loaded
    from graft.config.schema import Params
    from graft.features.plan import Output, Plan
    from graft.pipeline.layout import Paths
    from graft.planning.examples import Examples

NOWHERE = "http://127.0.0.1:9"
"""A proxy that lets nothing through: a plan downloads no weights."""

PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


@dataclass(frozen=True)
class Passes:
    """What `extract` does.

    wanted: forward passes that the arrays stand for, one for each view of each distinct example. held: those that the
    cache spares, None where it cannot be asked. array_bytes: output -> bytes of the array. cache_bytes: that the cache
    grows by. note: what is not known, and why.
    """

    examples: int
    views: int
    wanted: int
    held: int | None
    array_bytes: Mapping[str, int]
    cache_bytes: int
    note: str = ""

    @property
    def computed(self) -> int:
        """Forward passes that are left; all of them where the cache cannot be asked."""
        return self.wanted - (self.held or 0)


def of(params: Params, paths: Paths, examples: Examples) -> Passes:
    """What `extract` would compute for these examples. Raises what a network raises that cannot be built at all."""
    views = 1 + params.extract.views
    numerics.apply(params.numerics)
    with hushed(), _offline():
        start_tensorflow()
        from graft.backbones import networks
        from graft.features import plan

        try:
            with redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):  # what Keras says of weights
                loaded = networks.built(params.backbone, params.extract.pooling, params.extract.taps)
        except BackboneError as error:
            distinct = len(set(examples.sha256s)) + examples.unread
            return Passes(examples.n, views, distinct * views, None, {}, 0, _without(params, error))
        planned = plan.make(params, paths, loaded, _cut(params, loaded), plan.engine(params), examples.sha256s)
        return _counted(planned, examples)


def _without(params: Params, error: BackboneError) -> str:
    """Why the cache cannot be asked."""
    if params.backbone.weights == "imagenet":
        return "ImageNet's weights are not here yet, so that graft's cache cannot be asked; extract downloads them"
    return f"graft's cache cannot be asked: {error}"


@contextmanager
def _offline() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in PROXIES}
    os.environ |= dict.fromkeys(PROXIES, NOWHERE)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _cut(params: Params, loaded: Loaded) -> str | None:
    """As `stages.extract` resolves it."""
    from graft.backbones import automatic, cuts

    if not params.finetune.enabled:
        return None
    points, asked = cuts.derive(loaded.model), params.finetune.cut
    return cuts.default(points) if asked == automatic.AUTO else cuts.named(points, asked)


def _counted(planned: Plan, examples: Examples) -> Passes:
    unique = list(dict.fromkeys(examples.sha256s))
    lacking = {name: _lacking(output, unique, planned.views) for name, output in planned.outputs.items()}
    ways = len(lacking) if planned.apart else min(len(lacking), 1)
    beside = examples.unread * planned.views
    one_by_one = sum(map(len, lacking.values()))
    left = (one_by_one if planned.apart else len(set().union(*lacking.values()))) + ways * beside
    part = {name: output.part.n_bytes for name, output in planned.outputs.items()}
    return Passes(
        examples=examples.n,
        views=planned.views,
        wanted=ways * planned.views * (len(unique) + examples.unread),
        held=ways * planned.views * (len(unique) + examples.unread) - left,
        array_bytes={name: n * planned.views * examples.n for name, n in part.items()},
        cache_bytes=sum(n * (len(lacking[name]) + beside) for name, n in part.items()),
    )


def _lacking(output: Output, sha256s: Sequence[str], views: int) -> set[tuple[str, int]]:
    """(sha256, view) of what the cache does not hold. Nothing in it is made or touched."""
    from graft.features import cache

    described = [(one.what, one.folder.name) for one in cache.held()]
    missing: set[tuple[str, int]] = set()
    for augmented, key in enumerate(output.keys):
        wanted = [(sha256, view) for view in (range(1, views) if augmented else (0,)) for sha256 in sha256s]
        folder = _folder(key, described)
        if folder is not None:
            # As `features.cache` calls a value.
            keys = [bytes.fromhex(sha256) + view.to_bytes(cache.VIEW_BYTES) for sha256, view in wanted]
            there = Database.opened(f"{cache.KIND}/{folder}").has(keys)
            wanted = [one for one, is_there in zip(wanted, there, strict=True) if not is_there]
        missing |= set(wanted)
    return missing


def _folder(key: Mapping[str, Any], described: Sequence[tuple[dict[str, Any], str]]) -> str | None:
    """The part of the cache that a fingerprint has; None where there is none."""
    what = json.loads(json.dumps(key))
    return next((folder for found, folder in described if found == what), None)
