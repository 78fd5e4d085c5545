"""Training from a file that is not in memory: megabytes a second of it, beside the bare reading of the same file.

    python benchmarks/disk.py [--images 0.1]

A linear head is trained for an epoch by `fit`, as `train` does, in an order drawn anew: on 1,000,000 features of 320
numbers, and on 100,000 activations of 37,632 bytes. *Cold*: nothing of the file is in the page cache as the epoch
begins; *warm*: all of it is. The bare reading, cold too, is once that of the whole file from its first byte to its
last, and once that of the same examples in the same order, fetched as for training, without any step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import write_params
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from growth import Held
from record import keep

if TYPE_CHECKING:
    from graft.features.store import Stored

FILES = {"features": (1_000_000, (320,), "float32"), "activations": (100_000, (14, 14, 96), "float16")}
"""Name -> examples, shape and dtype of each."""

BLOCK = 1000
"""Examples that are made at a time; all blocks have the same values."""

CLASSES = 100

AT_A_TIME = 512
"""Examples that are fetched together, where only reading is measured."""


def make(folder: Path, n: int, shape: tuple[int, ...], dtype: str) -> None:
    """What `extract` writes, without views."""
    from graft.features import arrays, store

    meta = store.Meta({}, {}, (n, 1, *shape), dtype, store.examples_digest([]))
    store.begin(folder)
    values = np.random.default_rng(0).normal(size=(BLOCK, *shape)).astype(dtype)
    writer = arrays.Writer(folder, meta.shape, dtype)
    for row in range(n):
        writer.put(row, 0, values[row % BLOCK])
    writer.close()
    store.write_meta(folder, meta)


def drop(paths: Sequence[Path]) -> None:
    """Out of the page cache, which lets go of what is written and nowhere mapped."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_order(paths: Sequence[Path]) -> None:
    """Read from the first byte to the last."""
    block = bytearray(2**23)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def rates(folder: Path, n: int) -> dict[str, float]:
    """MB/s of the first `n` examples of an array in their order, drawn anew; and of all its files."""
    from graft.features import arrays, store

    paths = sorted(arrays.files(folder).values())
    drop(paths)
    n_bytes = sum(path.stat().st_size for path in paths)
    found = {"reading_mb_s": n_bytes / 1e6 / seconds(lambda: in_order(paths))}
    for name, work in (("fetching", fetch), ("cold", train), ("warm", train)):
        if name == "warm":
            in_order(paths)
        else:
            drop(paths)
        features = store.require(folder, [])  # not before: what is mapped stays in the cache
        with Held() as held:
            found[f"{name}_mb_s"] = n * features.array[:1].nbytes / 1e6 / seconds(partial(work, features, n, folder))
        del features
        if name == "cold":
            found["cold_gb"] = held.most_bytes / 1e9
    return found | {"cold_vs_warm": found["cold_mb_s"] / found["warm_mb_s"]}


def fetch(features: Stored, n: int, folder: Path) -> None:
    """As `training.batches` does, on one thread."""
    order = np.random.default_rng(0).permutation(n)
    for start in range(0, n, AT_A_TIME):
        features.drawn(order[start : start + AT_A_TIME], 0, 0)


def train(features: Stored, n: int, folder: Path) -> None:
    """One epoch; the seconds until the graph is made are its own."""
    from graft.config.load import load
    from graft.models import heads
    from graft.training.batches import Examples
    from graft.training.fit import fit

    write_params(folder, {"train.epochs": 1, "train.monitor": "loss"})
    p = load(folder / "params.yaml").train
    head = heads.build("linear", p.heads.linear.model_dump(), features.array.shape[2:], CLASSES, 0)
    every = Examples(np.arange(n), np.arange(n) % CLASSES, np.ones(n, np.float32))
    nothing = Examples(every.rows[:0], every.targets[:0], every.weights[:0])
    fit(head, p, 0, CLASSES, every, lambda rows, epoch: features.drawn(rows, 0, epoch), nothing, lambda *_: every.rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=float, default=1.0, help="share of the examples of each file that is trained on"
    )
    options = parser.parse_args()
    numerics.apply("portable")
    start_tensorflow()
    for name, (n, shape, dtype) in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), n, shape, dtype)
            found = rates(Path(folder), int(options.images * n))
        keep({f"disk.{name}_{what}": value for what, value in found.items()})


if __name__ == "__main__":
    main()
