"""An epoch of fine-tuning: from cached activations at the cut, against the whole network in the loop.

    python benchmarks/finetune.py                          # photos made on the spot
    python benchmarks/finetune.py --photos some/directory  # a directory per class, or train/, ... above

Both train the same layers of MobileNetV2 1.0 at 224 pixels on the same images with graft's own `fit`, which cuts a
batch into shards, and both see augmented images: here a view that was kept, there one drawn anew from the decoded
file, on all cores.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import make_photos, write_params
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from record import keep

CUT = "block_13_expand"
SIDE = 224
CLASSES = 10
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="directory of photos; made on the spot where not given")
    parser.add_argument("--images", type=int, default=1024, help="of which an epoch is made")
    parser.add_argument("--numerics", choices=("portable", "native"), default="portable")
    options = parser.parse_args()
    numerics.apply(options.numerics)
    start_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or Path(folder) / "photos"
        if options.photos is None:
            make_photos(photos, options.images)
        files = sorted(photos.rglob("*.jpg"))[: options.images]
        keep({f"finetune.{name}": value for name, value in epochs(files, Path(folder), options.numerics).items()})


def epochs(files: list[Path], folder: Path, how: str) -> dict[str, float]:
    """Rates of the fastest epoch of each way, in rounds by turns; the first epoch of a round traces the graphs.

    how: `numerics` of params.yaml.
    """
    from graft.backbones import build
    from graft.config.load import load
    from graft.features import store
    from graft.features.engines import ENGINES, portable
    from graft.inputs.image import augment
    from graft.inputs.image.decode import Resizing, decode
    from graft.inputs.image.spec import PIXELS, ImageInput
    from graft.models import assemble, heads
    from graft.training.batches import Examples
    from graft.training.fit import fit

    write_params(folder, {"numerics": how, "finetune.epochs": 3, "finetune.monitor": "loss"})
    p = load(folder / "params.yaml")
    ranges = p.extract.augment.model_dump()
    resizing = Resizing(SIDE, "stretch", "bilinear")
    pool = ThreadPoolExecutor(os.cpu_count())
    targets = np.arange(len(files)) % CLASSES
    rows = np.arange(len(files))
    train = Examples(rows, targets, np.ones(len(rows), np.float32))
    nothing = Examples(rows[:0], targets[:0], np.ones(0, np.float32))

    def drawn_anew(chosen: np.ndarray, epoch: int) -> np.ndarray:
        def view(row: int) -> np.ndarray:
            pixels = decode(files[row].read_bytes(), resizing)
            return augment.view(pixels, ranges, np.random.default_rng([epoch, row]))

        return np.stack(list(pool.map(view, chosen))).astype(np.float32)

    loaded = build.build("MobileNetV2", 1.0, SIDE, "random", 0)
    values = p.train.heads.linear.model_dump()
    whole = assemble.classifier(loaded, "avg", heads.build("linear", values, (1280,), CLASSES, 0))
    network = build.feature_model(loaded, "avg", CUT, (build.ACTIVATIONS,))
    capped = how == "portable" and not portable.uncapped_is_equal("MobileNetV2", 1.0, "openvino", "float32")
    below = ENGINES["openvino"](network, ImageInput(resizing).signature(), "float32", capped)
    boundary = np.lib.format.open_memmap(
        folder / "boundary.npy", mode="w+", dtype=np.float16, shape=(len(files), 2, *network.output_shape[1:])
    )
    for view in (0, 1):
        for start in range(0, len(files), 16):
            some = rows[start : start + 16]
            (boundary[some, view],) = below.run({PIXELS: drawn_anew(some, view).astype(np.uint8)})
    assemble.unfreeze(loaded, CUT)
    above = assemble.above(whole, CUT)

    stored = store.Stored(boundary, store.Meta({}, {}, boundary.shape, "float16", ""))

    def kept(chosen: np.ndarray, epoch: int) -> np.ndarray:
        return stored.drawn(chosen, 0, epoch)

    seconds = {"whole_network": math.inf, "activations": math.inf}
    for _ in range(ROUNDS):
        for name, model, fetch in (("whole_network", whole, drawn_anew), ("activations", above, kept)):
            ends: list[float] = []

            def note(epoch: int, metrics: dict[str, float], ends: list[float] = ends) -> None:
                ends.append(time.perf_counter())

            fit(model, p.finetune, 0, CLASSES, train, fetch, nothing, fetch, note)
            seconds[name] = min(seconds[name], *(b - a for a, b in itertools.pairwise(ends)))
    return {
        "whole_network_images_per_second": len(files) / seconds["whole_network"],
        "activations_images_per_second": len(files) / seconds["activations"],
        "epoch_vs_whole_network": seconds["whole_network"] / seconds["activations"],
    }


if __name__ == "__main__":
    main()
