"""Each example, and each of its views, goes through the frozen backbone once; what comes out is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from graft import inputs
from graft.backbones import automatic, build, cuts, networks
from graft.errors import DataError, listing
from graft.examples import ahead, catalogue
from graft.examples.sources import SOURCES
from graft.features import cache, plan, runners, store
from graft.features.compute import Results
from graft.features.runners.base import Job
from graft.features.sink import Sink
from graft.inputs.batches import Read, Task, batches
from graft.runtime.cores import available
from graft.runtime.progress import say, track
from graft.runtime.reading.prefetch import prefetched

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

AHEAD = 256
"""Texts that are looked at before it is asked for them."""

SAMPLE_EXAMPLES = 4
"""Whose inputs are kept for `finetune` to compare by."""


Shared = Callable[[plan.Plan, Collection[str]], AbstractContextManager[object]]
"""Around the look into the cache and the computation: a cache that others fill, too. Of which examples, by sha256."""


def _alone(planned: plan.Plan, sha256s: Collection[str]) -> AbstractContextManager[object]:
    return nullcontext()


def run(params: Params, paths: Paths, shared: Shared = _alone) -> None:
    """Write the features of the used examples in their order and, for fine-tuning, what crosses at its cut."""
    images = catalogue.used(paths.catalogue)
    if params.data.kind == "image":
        _require_visible(images, params)
    runners.begin(params.extract.runner)
    loaded = networks.built(params.backbone, params.extract.pooling, params.extract.taps)
    say(f"{params.backbone.name}, weights {params.backbone.weights} (sha256 {loaded.weights_sha256[:12]})")
    cut = _cut(params, loaded)
    if params.data.kind == "text":
        _note_cut_off(params, images)
    plan.on_engine(
        params,
        lambda engine: _compute(
            plan.make(params, paths, loaded, cut, engine, images["sha256"]),
            images,
            params,
            loaded,
            paths.features,
            shared,
        ),
    )


def _require_visible(images: pd.DataFrame, params: Params) -> None:
    """Raises DataError where `pad` would leave less than half a row of pixels of an image, which is nothing."""
    side = params.backbone.input_size
    if params.backbone.resize != "pad":
        return
    sides = images[["width", "height"]]
    gone = images[sides.min(axis=1) / sides.max(axis=1) * side < 0.5]
    if len(gone):
        shown = [f"{one.path} ({one.width} x {one.height})" for one in gone.itertuples()]
        raise DataError(
            f"backbone.resize: pad to {side} pixels leaves nothing of {len(gone)} images that are too narrow: "
            f"{listing(shown, 5)}. Set backbone.resize to stretch or crop, raise backbone.input_size, or remove them."
        )


def _note_cut_off(params: Params, texts: pd.DataFrame) -> None:
    """A word where texts are longer than `backbone.max_tokens`, with the first of them."""
    spec = inputs.of(params)
    read = _reader(params.data.source, params.data.path)

    def is_cut(one: tuple[str, str]) -> tuple[str, bool]:
        return one[0], spec.is_cut(read(*one))

    each = zip(texts["path"], texts["sha256"], strict=True)
    cut = [path for path, too_long in prefetched(is_cut, each, available(), AHEAD) if too_long]
    if cut:
        say(
            f"note: {len(cut)} of {len(texts)} texts have more than {params.backbone.max_tokens} tokens, "
            f"backbone.max_tokens, and are cut off there: {listing(cut, 3)}"
        )


def _cut(params: Params, loaded: build.Loaded) -> str | None:
    """The layer that `finetune.cut` means: resolved here for every stage. None where there is no fine-tuning."""
    if not params.finetune.enabled:
        return None
    points = cuts.derive(loaded.model)
    asked = params.finetune.cut
    cut = cuts.default(points) if asked == automatic.AUTO else cuts.named(points, asked)
    if params.data.kind == "image" and cut is not None and plan.reason(params, plan.ACTIVATIONS) is None:
        _note_size(points.points, cut, params.backbone.input_size)
    return cut


def _compute(
    planned: plan.Plan, images: pd.DataFrame, params: Params, loaded: build.Loaded, sample: Path, shared: Shared
) -> None:
    """Fill every output of the plan. sample: the folder of what `finetune` compares by.

    Raises CannotRunError where the engine cannot run the network.
    """
    open_reader = partial(_reader, params.data.source, params.data.path)
    read = open_reader()
    with shared(planned, images["sha256"]), Sink(planned, images) as sink:
        missing = sink.fill()
        for other in planned.others:
            say(f"{other.name}: none, since {other.reason}")
        n_wanted = sink.n_examples * planned.views
        for name in planned.outputs:
            n_missing = sum(tasks.n_views for names, tasks in missing.items() if name in names)
            say(f"{name} of {_shown(images, planned)}: {n_wanted - n_missing} of {n_wanted} are in the cache")
        for names, tasks in missing.items():
            what = f"extracting {' and '.join(names)}"
            unit = f"{planned.spec.inputs.kind}s"
            with ahead.reading(read, tasks, Path(params.data.path)) as early:
                job = Job(planned, names, tasks, early, open_reader, loaded, params.ray)
                with closing(runners.RUNNERS[params.extract.runner](job)) as results:
                    for keys, outputs in track(results, tasks.n_views, what, _n_keys, unit):
                        sink.put(keys, outputs)
        some = images.head(SAMPLE_EXAMPLES)
        shown = [Task(path, sha256) for path, sha256 in zip(some["path"], some["sha256"], strict=True)]
        _, arrays = next(batches(planned.spec.inputs, read, shown, len(shown)))
        store.write_sample(sample, next(iter(arrays.values())))
        sink.finish()
    for one in cache.prune(cache.limit_bytes(), keep=sink.cache_names):
        say(f"features of {one.backbone} left the cache ({one.n_bytes / 1e6:.0f} MB), to stay within its limit")


def _reader(source: str, path: str) -> Read:
    """Reads examples; other processes call it too, to open a reader of their own."""
    return catalogue.reader(SOURCES[source], Path(path))


def _n_keys(results: Results) -> int:
    keys, _ = results
    return len(keys)


def _shown(images: pd.DataFrame, planned: plan.Plan) -> str:
    views = f" and {planned.views - 1} views of each" if planned.views > 1 else ""
    return f"{len(images)} {planned.spec.inputs.kind}s{views}"


def _note_size(points: dict[str, cuts.Cut], cut: str, side: int) -> None:
    """A word where a cut keeps more than the images themselves, and a later one would not."""
    bytes_at = {name: cache.Part(point.shape, plan.ACTIVATIONS_DTYPE).n_bytes for name, point in points.items()}
    image_bytes = side**2 * 3
    smaller = [name for name, n in bytes_at.items() if n <= image_bytes and points[name].layers < points[cut].layers]
    if bytes_at[cut] > image_bytes and smaller:
        say(
            f"note: activations at {cut} take {bytes_at[cut] / 1e3:,.0f} kB of disk for each image and view, more "
            f"than its {image_bytes / 1e3:,.0f} kB of pixels; at {smaller[0]}, the next cut that takes less than that, "
            f"{bytes_at[smaller[0]] / 1e3:,.0f} kB"
        )
