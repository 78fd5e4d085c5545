"""What Ray costs and what it survives: stages on Ray beside `local`, kills, and what a cluster would cost.

    python benchmarks/scale.py                 # photos of GRAFT_REAL_DATA, or made on the spot
    python benchmarks/scale.py rates --rounds 3
    python benchmarks/scale.py prepare         # images/s of examining them
    python benchmarks/scale.py ridge           # seconds of a solved head, on features made on the spot
    python benchmarks/scale.py kills
    python benchmarks/scale.py driver          # what one driver can take in, with actors that compute nothing
    python benchmarks/scale.py cost            # on paper, from the rates in results.json

Each ratio compares two ways in one run, in turn. Rates are those between a fifth of the images and the last one:
starting Ray, and a network in each actor, is reported apart.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil

from common import EXTRACT, PREPARE, make_photos, make_small, timed, write_params
from graft.features import store
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from record import RESULTS, keep

PHOTOS = {
    "data.source": "folder", "backbone.alpha": 1.0, "backbone.input_size": 224, "backbone.weights": "random",
    "extract.engine": "openvino", "extract.views": 2, "finetune.enabled": False,
}  # fmt: skip
SMALL = {"data.source": "folder", "data.path": "small", "backbone.input_size": 32, "extract.views": 2}

WAYS: dict[str, dict[str, Any]] = {
    "local": {"extract.runner": "local"},
    "ray_1": {"extract.runner": "ray", "ray.actors": 1},
    "ray_2": {"extract.runner": "ray", "ray.actors": 2},
}
EXAMPLES, VIEWS, WIDTH, CLASSES = 40_000, 6, 512, 100
"""Of features for ridge: 5.9 runs of blocks."""
BAR = 0.85
"""The goal of `scale.vs_local`: Ray with an actor for each core, beside graft's own threads on as many."""

KILLS = 10
NODES = (1, 2, 4, 8, 16, 32, 64)
MILLION = 1_000_000
PUBLISHED = 800_000 / 456.2 / 8
"""Images/s and machine: Ray's own benchmark (doc/source/data/benchmark.md), ResNet18 on 8 g6.xlarge with an L4 each."""


def rates(photos: Path, rounds: int) -> dict[str, float]:
    """Images/s of each way, in turn, and the seconds until its first results. All write the same bytes."""
    from graft.stages import extract

    here = Path(tempfile.mkdtemp())
    found: dict[str, list[float]] = {f"{name}_{what}": [] for name in WAYS for what in ("per_second", "start_seconds")}
    digests = set()
    for number in range(rounds):
        for name, changes in WAYS.items():
            params, paths = _prepared(here, PHOTOS | {"data.path": str(photos)} | changes)
            os.environ["GRAFT_CACHE_DIR"] = str(here / f"cache{number}{name}")
            marks: list[tuple[float, int]] = []
            began = time.perf_counter()
            with mock.patch.object(extract, "track", _marking(marks)):
                extract.run(params, paths)
            digests.add(hashlib.sha256((paths.features / "array.npy").read_bytes()).hexdigest())
            found[f"{name}_start_seconds"].append(marks[0][0] - began)
            found[f"{name}_per_second"].append(_slope(marks))
            print(f"{name:<8} {_slope(marks):6.0f} images/s", flush=True)
    shutil.rmtree(here)
    if len(digests) > 1:
        raise SystemExit("local and ray wrote other bytes")
    best = {key: (min if key.endswith("seconds") else max)(values) for key, values in found.items()}
    pairs = zip(found["local_per_second"], found["ray_2_per_second"], strict=True)
    return best | {"vs_local": max(ray / local for local, ray in pairs)}


def _prepared(folder: Path, changes: dict[str, Any], cache: str = "verdicts") -> tuple[Any, Any]:
    """Parameters and paths in a folder, where `prepare` has run. cache: a name, of what is known of the images."""
    from graft.config.load import load
    from graft.pipeline import layout
    from graft.stages import prepare

    write_params(folder, changes)
    params, relative = load(folder / "params.yaml"), layout.read(folder / "dvc.yaml")
    paths = layout.Paths(**{name: folder / getattr(relative, name) for name in layout.NAMES})
    os.environ["GRAFT_CACHE_DIR"] = str(folder / cache)
    prepare.run(params, paths)
    return params, paths


def _marking(
    marks: list[tuple[float, int]], size: Callable[[Any], int] = lambda item: len(item[0])
) -> Callable[..., Iterator[Any]]:
    """In place of `progress.track`: notes (time, images so far) at each result. size: images of a result."""

    def track(items: Iterator[Any], *_: object) -> Iterator[Any]:
        done = 0
        for item in items:
            done += size(item)
            marks.append((time.perf_counter(), done))
            yield item

    return track


def _slope(marks: list[tuple[float, int]]) -> float:
    end, total = marks[-1]
    from_then, so_far = next(mark for mark in marks if mark[1] >= total / 5)
    return (total - so_far) / (end - from_then)


def examining(photos: Path, rounds: int) -> dict[str, float]:
    """Images/s that `prepare` examines each way, in turn, between its first results and its last."""
    from graft.examples.checks import examination

    here = Path(tempfile.mkdtemp())
    found: dict[str, list[float]] = {f"prepare_{name}_per_second": [] for name in WAYS}
    digests = set()
    for number in range(rounds):
        for name, changes in WAYS.items():
            marks: list[tuple[float, int]] = []
            runner = {key.replace("extract.", "data."): value for key, value in changes.items()}
            with mock.patch.object(examination, "track", _marking(marks, len)):
                _, paths = _prepared(here, PHOTOS | {"data.path": str(photos)} | runner, f"{name}{number}")
            digests.add(paths.catalogue.read_bytes())
            found[f"prepare_{name}_per_second"].append(_slope(marks))
            print(f"{name:<8} {_slope(marks):6.0f} images/s", flush=True)
    shutil.rmtree(here)
    if len(digests) > 1:
        raise SystemExit("local and ray wrote other bytes")
    return {key: max(values) for key, values in found.items()}


def solving(rounds: int) -> dict[str, float]:
    """Seconds of a head of ridge each way, in turn; of Ray, without its start."""
    from graft.config.load import load
    from graft.models import heads, solved
    from graft.models.runners import RUNNERS
    from graft.models.runners.base import Job

    here = Path(tempfile.mkdtemp())
    data, meta = _features(here / "features")
    build = partial(heads.build, "ridge", {"pooling": "avg"}, (WIDTH,), CLASSES, 0)
    job = Job(partial(store.opened, here / "features", meta), build, "portable")
    found: dict[str, list[float]] = {f"ridge_{name}_seconds": [] for name in WAYS}
    digests = set()
    for _ in range(rounds):
        for name, changes in WAYS.items():
            runner = {key.replace("extract.", "train."): value for key, value in changes.items()}
            write_params(here, runner | {"train.head": "ridge"})
            params, head = load(here / "params.yaml"), build()
            with RUNNERS[params.train.runner](job, params.ray) as runners:
                began = time.perf_counter()
                solved.fit(head, params.train, data, job.open_features(), lambda epoch, values: None, runners)
            found[f"ridge_{name}_seconds"].append(time.perf_counter() - began)
            digests.add(b"".join(one.tobytes() for one in head.get_weights()))
            print(f"{name:<8} {found[f'ridge_{name}_seconds'][-1]:6.1f} s", flush=True)
    shutil.rmtree(here)
    if len(digests) > 1:
        raise SystemExit("local and ray solved for other bytes")
    return {key: min(values) for key, values in found.items()}


def _features(folder: Path) -> tuple[Any, store.Meta]:
    """Features of examples that lie around a place for each class, in `folder`, and what is known of the examples."""
    import pandas as pd

    from graft.examples.dataset import Dataset
    from graft.examples.split import Split

    rng = np.random.default_rng(0)
    targets = np.arange(EXAMPLES) % CLASSES
    places = rng.normal(size=(CLASSES, 1, WIDTH)).astype(np.float32)
    features = np.lib.format.open_memmap(_made(folder) / store.ARRAY, "w+", np.float32, (EXAMPLES, VIEWS, WIDTH))
    for start in range(0, EXAMPLES, 1000):
        rows = slice(start, start + 1000)
        features[rows] = places[targets[rows]] + 4 * rng.standard_normal((1000, VIEWS, WIDTH), np.float32)
    features.flush()
    meta = store.Meta({}, {}, features.shape, "float32", "")
    store.write_meta(folder, meta)
    rows = np.arange(EXAMPLES)
    held_out = rows % 100 == 0
    sides: Any = {"train": rows[~held_out], "validation": rows[held_out], "test": rows[:0]}
    classes = [str(number) for number in range(CLASSES)]
    return Dataset(pd.DataFrame(), classes, targets, Split(sides, np.ones(EXAMPLES, np.float32))), meta


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def kills() -> dict[str, float]:
    """Ten runs, each with `kill -9` of an actor or of graft itself at a random moment; the bytes afterwards."""
    here, chance = Path(tempfile.mkdtemp()), random.Random(0)
    make_small(here / "small", 6000)
    write_params(here, SMALL)
    timed(PREPARE, here, here / "cache")
    timed(EXTRACT, here, here / "cache")
    expected, same = _digest(here), 0
    write_params(here, SMALL | WAYS["ray_2"])
    undisturbed, _ = timed(EXTRACT, here, here / "undisturbed")
    number = 0
    while number < KILLS:
        cache, victim = Path(tempfile.mkdtemp(dir=here)), ("actor", "driver")[number % 2]
        after = chance.uniform(1, undisturbed)
        process = subprocess.Popen(
            EXTRACT, cwd=here, env=os.environ | {"GRAFT_CACHE_DIR": str(cache)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        hit = _kill(process, victim, time.monotonic() + after, chance)
        process.wait()
        if hit is None:  # it had ended
            continue
        number += 1
        timed(EXTRACT, here, cache)  # goes on, or finds everything in the cache
        same += _digest(here) == expected
        print(f"kill {number}: {hit} after {after:.1f} s; same bytes: {_digest(here) == expected}", flush=True)
    shutil.rmtree(here)
    return {"kills": KILLS, "kills_with_same_bytes": same}


def _kill(process: subprocess.Popen[bytes], victim: str, at: float, chance: random.Random) -> str | None:
    """kill -9; of an actor as soon as there is one. Gives what was killed; None where it had ended."""
    while process.poll() is None:
        actors = [one for one in psutil.Process(process.pid).children(recursive=True) if "MapWorker" in _name(one)]
        if time.monotonic() >= at and (victim == "driver" or actors):
            os.kill(process.pid if victim == "driver" else chance.choice(actors).pid, signal.SIGKILL)
            return victim
        time.sleep(0.05)
    return None


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _digest(folder: Path) -> str:
    arrays = [folder / "data" / name / "array.npy" for name in ("features", "activations")]
    return hashlib.sha256(b"".join(array.read_bytes() for array in arrays)).hexdigest()


def idle(work: Any) -> Callable[[Any], dict[str, np.ndarray]]:
    """In place of `Extraction.begin`: computes nothing, and gives zeros, of the right shapes, at once."""
    from graft.features.runners import worker

    parts = {name: work.plan.outputs[name].part for name in work.wanted}

    def zeros(tasks: Any) -> dict[str, np.ndarray]:
        keys = [(task.sha256, view) for task in tasks for view in task.views]
        return {
            worker.SHA256: np.array([sha256 for sha256, _ in keys]),
            worker.VIEW: np.array([view for _, view in keys]),
            **{name: np.zeros((len(keys), *part.shape), part.dtype) for name, part in parts.items()},
        }

    return zeros


def driver() -> dict[str, float]:
    """Images/s that one driver takes in, into the arrays and the cache, where actors take no time."""
    from graft.features.runners import ray as on_ray
    from graft.features.runners.worker import Extraction
    from graft.stages import extract

    class Idle(Extraction):
        begin = idle

    here, found = Path(tempfile.mkdtemp()), {}
    make_small(here / "small", 20_000)
    layers = {"backbone.alpha": 1.0, "backbone.weights": "random", "backbone.input_size": 224, "extract.views": 0}
    folder = {"data.path": str(here / "small"), "finetune.cut": "block_13_expand"}
    for name, tuned in (("features", False), ("activations_too", True)):
        params, paths = _prepared(here, SMALL | WAYS["ray_1"] | layers | folder | {"finetune.enabled": tuned})
        os.environ["GRAFT_CACHE_DIR"] = str(here / name)
        marks: list[tuple[float, int]] = []
        memory: list[float] = []

        def track(items: Iterator[Any], *_: object, marks: Any = marks, memory: Any = memory) -> Iterator[Any]:
            for number, item in enumerate(_marking(marks)(items)):
                if number % 16 == 0:  # it takes a while
                    memory.append(psutil.Process().memory_full_info().uss / 1e9)
                yield item

        with mock.patch.object(on_ray, "Extraction", Idle), mock.patch.object(extract, "track", track):
            extract.run(params, paths)
        found[f"driver_{name}_per_second"] = _slope(marks)
        found |= {f"driver_{name}_early_gb": memory[1], f"driver_{name}_late_gb": memory[-1]}
    shutil.rmtree(here)
    return found


def cost(cores: int, price: float, kept: dict[str, float]) -> None:
    """Prints what a million images would take on so many machines: every figure but the price was measured.

    An actor has whole blocks of 256 images, so that the last ones are on few machines; the driver takes in no more
    than it was seen to; what is read comes from where the machines read at the speed of a disk.
    """
    from graft.features.runners.ray import BLOCK_VIEWS

    rate, start = kept["scale.ray_2_per_second"] / 2, kept["scale.ray_1_start_seconds"]
    limit = kept["scale.driver_features_per_second"]
    print(f"{rate:.0f} images/s a core, {start:.0f} s until the first results, {limit:,.0f} images/s into one driver")
    print(f"machines of {cores} cores at ${price:.2f} an hour (an assumption)")
    print(f"{'machines':>8} {'images/s':>9} {'minutes':>8} {'$ a million':>12} {'of linear':>10} {'Ray published':>14}")
    for n in NODES:
        actors = n * cores
        blocks = math.ceil(MILLION / BLOCK_VIEWS / actors)
        seconds = start + max(blocks * BLOCK_VIEWS / rate, MILLION / limit)
        linear = MILLION / (actors * rate)
        print(
            f"{n:>8} {MILLION / seconds:>9,.0f} {seconds / 60:>8.1f} {n * price * seconds / 3600:>12.2f} "
            f"{linear / seconds:>10.0%} {n * PUBLISHED:>14,.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["rates", "prepare", "ridge", "driver", "kills", "cost"])
    parser.add_argument("--photos", type=Path, help="directory of photos, a directory per class")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=8, help="of a machine of the cluster on paper")
    parser.add_argument("--price", type=float, default=0.34, help="of its hour, in dollars")
    options = parser.parse_args()
    wanted = numerics.settings("portable")
    if wanted.items() - os.environ.items():  # NumPy has been imported without
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)
    numerics.apply("portable")
    start_tensorflow()
    real = os.environ.get("GRAFT_REAL_DATA")
    with tempfile.TemporaryDirectory() as folder:
        for what in options.what:
            if what in ("rates", "prepare"):
                photos = options.photos or (Path(real, "datasets", "clothing-dataset-small") if real else None)
                if photos is None:
                    photos = Path(folder) / "photos"
                    make_photos(photos, 3000)
                figures = {"rates": rates, "prepare": examining}[what](photos.resolve(), options.rounds)
                keep({f"scale.{name}": value for name, value in figures.items()})
                if what == "rates":
                    print(f"{'scale.vs_local, at least':<36} {BAR}")
            elif what in ("ridge", "kills", "driver"):
                figures = {"ridge": partial(solving, options.rounds), "kills": kills, "driver": driver}[what]()
                keep({f"scale.{name}": value for name, value in figures.items()})
            elif what == "cost":
                cost(options.cores, options.price, json.loads(RESULTS.read_text()))
            else:
                sys.exit(f"must be any of rates, prepare, ridge, driver, kills and cost. Got {what!r}.")


if __name__ == "__main__":
    main()
