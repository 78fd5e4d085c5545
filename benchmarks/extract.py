"""What `extract` costs: against other ways to the same features, when few images are new, and as the set grows.

    python benchmarks/extract.py                          # photos made on the spot
    python benchmarks/extract.py --photos some/directory  # a directory per class, or train/, validation/, test/ above
    python benchmarks/extract.py --torch some/python      # a Python with torch and timm, to compare with

Each ratio compares two ways in one run: `rounds` times in turn, the best of each. Starting Python, building a network
and compiling it are counted for no way, but for the commands that are timed as a whole.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import EXTRACT, PREPARE, make_photos, make_small, timed, write_params
from graft.runtime.tensorflow import start_tensorflow
from record import keep

SIDE = 224
SIZES = (1_000, 10_000, 50_000)
NEW_SHARE = 0.01
TORCH_IMAGES = 512
"""For each of its settings, of which the best counts."""

MOBILENET = {
    "data.source": "folder", "backbone.alpha": 1.0, "backbone.input_size": SIDE, "backbone.weights": "random",
    "extract.views": 0, "finetune.enabled": False, "finetune.cut": None,
}  # fmt: skip


def rates(photos: Path, images: int, rounds: int, torch_python: str | None) -> dict[str, float]:
    """Images/s from files to features, each way of the issue's list, in turn."""
    import keras

    from graft import params
    from graft.backbones import build
    from graft.examples import catalogue
from graft.inputs import pixels
    from graft.inputs.image.decode import Resizing
    from graft.features import engines
    from graft.stages import extract, prepare

    here = Path(tempfile.mkdtemp())
    write_params(here, MOBILENET | {"data.path": str(photos)})
    p = params.load(here / "params.yaml")
    names = ("catalogue.csv", "split.csv", "quarantine.csv", "duplicates.csv", "prepare.json")
    prepare.run(p.data, p.seed, *(here / name for name in names))
    used = catalogue.read(here / "catalogue.csv").used.iloc[:images]
    catalogue.Catalogue(used).write(here / "catalogue.csv")

    loaded = build.build("MobileNetV2", 1.0, SIDE, "random", 0)
    model = build.feature_model(loaded, "avg")
    forward = engines.ENGINES["openvino"](model, "float32")
    blank = np.random.default_rng(0).integers(0, 256, (p.extract.batch_size, SIDE, SIDE, 3), np.uint8)
    resizing = Resizing(SIDE, p.backbone.resize, p.backbone.interpolation)
    files = keras.utils.image_dataset_from_directory(
        photos, labels=None, image_size=(SIDE, SIDE), shuffle=False, verbose=False
    )
    extract.build.build = lambda *_: loaded
    extract.engines.ENGINES = {"openvino": lambda *_: forward}
    n_batches = images // p.extract.batch_size

    def graft() -> int:
        os.environ["GRAFT_CACHE_DIR"] = tempfile.mkdtemp(dir=here)
        extract.run(p.data, p.backbone, p.extract, p.finetune, here / "catalogue.csv", here / "features")
        return len(used)

    def predict() -> int:
        return len(model.predict(files.take(images // 32), verbose=0))

    def engine() -> int:
        done = engines.mapped(forward, ((None, blank) for _ in range(n_batches)))
        return sum(len(outputs[0]) for _, outputs in done)

    def decode() -> int:
        batches = pixels.batches("folder", photos, used, resizing, p.extract.batch_size)
        return sum(len(batch) for _, batch in batches)

    ways: dict[str, Callable[[], int]] = {"graft": graft, "predict": predict, "engine": engine, "decode": decode}
    model.predict(files.take(2), verbose=0)
    found: dict[str, list[float]] = {name: [] for name in (*ways, "pytorch")}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            done = way()
            found[name].append(done / (time.perf_counter() - began))
        if torch_python:
            command = [torch_python, str(Path(__file__).with_name("torch_extract.py")), str(photos), str(SIDE)]
            found["pytorch"].append(float(subprocess.check_output([*command, str(TORCH_IMAGES)], text=True)))
    shutil.rmtree(here)
    return {name: max(values) for name, values in found.items() if values}


def increment(photos: Path) -> dict[str, float]:
    """`graft extract` on all photos, and again with 1 % more; less what it takes for ten, which is its start."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        shutil.copytree(photos, here / "photos")
        files = sorted((here / "photos").rglob("*.jpg"))
        away = files[:: round(1 / NEW_SHARE)]
        for file in away:
            file.rename(file.with_suffix(".away"))
        write_params(here, MOBILENET | {"data.path": "photos"})
        timed(PREPARE, here, here / "cache")
        full, _ = timed(EXTRACT, here, here / "cache")
        for file in away:
            file.with_suffix(".away").rename(file)
        timed(PREPARE, here, here / "cache")
        more, _ = timed(EXTRACT, here, here / "cache")
        for file in files[10:]:
            file.unlink()
        for i, file in enumerate(files[:10]):
            (here / "photos" / f"class{i % 2}").mkdir(exist_ok=True)
            file.rename(here / "photos" / f"class{i % 2}" / f"{i}.jpg")
        timed(PREPARE, here, here / "other")
        start, _ = timed(EXTRACT, here, here / "other")
    return {
        "extraction.full_seconds": full,
        "extraction.increment_seconds": more,
        "extraction.start_seconds": start,
        "extraction.increment_share": (more - start) / (full - start),
    }


def growth() -> dict[str, float]:
    """Whole commands on small images, with activations at a cut: seconds and memory by the number of images."""
    figures = {}
    for n in SIZES:
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            make_small(here / "small", n)
            changes = {"data.source": "folder", "data.path": "small", "backbone.input_size": 32, "extract.views": 0}
            write_params(here, changes)
            timed(PREPARE, here, here / "cache")
            figures[f"growth.seconds_{n}"], figures[f"growth.peak_gb_{n}"] = timed(EXTRACT, here, here / "cache")
    draw(figures)
    return figures


def draw(figures: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, (what, label) in zip(
        figure.subplots(1, 2), (("seconds", "seconds, whole command"), ("peak_gb", "peak memory, GB")), strict=True
    ):
        axes.plot(SIZES, [figures[f"growth.{what}_{n}"] for n in SIZES], marker="o")
        axes.set(xlabel="images", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(Path(__file__).with_name("growth.png"), dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="directory of photos; made on the spot where not given")
    parser.add_argument("--torch", help="a Python that has torch and timm")
    parser.add_argument("--images", type=int, default=3200, help="photos in one round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    start_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        photos: Any = options.photos and options.photos.resolve()
        if photos is None:
            photos = Path(folder) / "photos"
            make_photos(photos, 3000)
        found = rates(photos, options.images, options.rounds, options.torch)
        limit = min(found["engine"], found["decode"])
        together = 1 / (1 / found["engine"] + 1 / found["decode"])
        keep(
            {
                **{f"extraction.{name}_per_second": rate for name, rate in found.items()},
                "extraction.vs_predict": found["graft"] / found["predict"],
                "extraction.vs_limit": found["graft"] / limit,
                "extraction.vs_limit_shared": found["graft"] / together,
                **({"extraction.vs_pytorch": found["graft"] / found["pytorch"]} if "pytorch" in found else {}),
            }
        )
        keep(increment(photos))
        keep(growth())


if __name__ == "__main__":
    main()
