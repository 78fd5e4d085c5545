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
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np

from common import EXTRACT, PREPARE, make_photos, make_small, timed, write_params
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from record import keep

SIDE = 224
SIZES = (1_000, 10_000, 50_000)
NEW_SHARE = 0.01
TORCH_IMAGES = 512
"""For each of its settings, of which the best counts."""

SHARED_BAR = 0.90
"""The goal of `vs_limit_shared`: of what decoder and engine reach one after the other, since they share the cores."""

DECODED = 32
"""Images in one batch of bare decoding."""

MOBILENET = {
    "data.source": "folder", "backbone.alpha": 1.0, "backbone.input_size": SIDE, "backbone.weights": "random",
    "extract.engine": "openvino", "extract.views": 0, "finetune.enabled": False,
}  # fmt: skip


def rates(photos: Path, images: int, rounds: int, how: str, others: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Images/s from files to features, each way of the issue's list, in turn.

    how: `numerics` of params.yaml. others: name -> the rate that another program reaches.
    """
    from graft import inputs
    from graft.backbones import build
    from graft.config.load import load
    from graft.examples import catalogue
    from graft.examples.sources import SOURCES
    from graft.features.engines import ENGINES, portable
    from graft.inputs.batches import Task, batches
    from graft.pipeline import layout
    from graft.runtime.cores import available
    from graft.stages import extract, prepare

    here = Path(tempfile.mkdtemp())
    write_params(here, MOBILENET | {"data.path": str(photos), "numerics": how})
    params, relative = load(here / "params.yaml"), layout.read(here / "dvc.yaml")
    paths = layout.Paths(**{name: here / getattr(relative, name) for name in layout.NAMES})
    prepare.run(params, paths)
    used = catalogue.read(paths.catalogue).used.iloc[:images]
    catalogue.Catalogue(used).write(paths.catalogue)

    loaded = build.of(params.backbone)
    model = build.feature_model(loaded, params.extract.pooling)
    spec = inputs.of(params)
    capped = how == "portable" and not portable.uncapped_is_equal("MobileNetV2", 1.0, "openvino", "float32")
    forward = ENGINES["openvino"](model, spec.signature(), "float32", capped)
    rng = np.random.default_rng(0)
    blank = {
        name: rng.integers(0, 256, (forward.batch_size, *shape), dtype)
        for name, (shape, dtype) in spec.signature().items()
    }
    read = catalogue.reader(SOURCES[params.data.source], photos)
    tasks = [Task(path, sha256) for path, sha256 in zip(used["path"], used["sha256"], strict=True)]

    def graft() -> int:
        os.environ["GRAFT_CACHE_DIR"] = tempfile.mkdtemp(dir=here)
        extract.run(params, paths)
        return len(used)

    def engine() -> int:
        def calls(n: int) -> int:
            return sum(len(forward.run(blank)[0]) for _ in range(n))

        each = images // (forward.batch_size * available())
        with ThreadPoolExecutor(available()) as pool:
            return sum(pool.map(calls, [each] * available()))

    def decode() -> int:
        return sum(len(keys) for keys, _ in batches(spec, read, tasks, DECODED))

    ways: dict[str, Callable[[], int]] = {"graft": graft, "engine": engine, "decode": decode}
    found: dict[str, list[float]] = {name: [] for name in (*ways, *others)}
    with (
        mock.patch.object(build, "of", return_value=loaded),
        mock.patch.object(build, "feature_model", return_value=model),
        mock.patch.dict(ENGINES, {"openvino": lambda *_: forward}),
    ):
        for _ in range(rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                done = way()
                found[name].append(done / (time.perf_counter() - began))
            for name, rate in others.items():
                found[name].append(rate())
    shutil.rmtree(here)
    return {name: max(values) for name, values in found.items()}


def other(python: str, script: str, photos: Path, images: int, environment: dict[str, str]) -> Callable[[], float]:
    """Images/s that a script beside this one prints. environment: without graft's settings, which slow others down."""
    command = [python, str(Path(__file__).with_name(script)), str(photos), str(SIDE), str(images)]
    return lambda: float(subprocess.check_output(command, text=True, env=environment).split()[-1])


def increment(photos: Path, how: str) -> dict[str, float]:
    """`graft extract` on all photos, and again with 1 % more; less what it takes for ten, which is its start."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        shutil.copytree(photos, here / "photos")
        files = sorted((here / "photos").rglob("*.jpg"))
        away = files[:: round(1 / NEW_SHARE)]
        for file in away:
            file.rename(file.with_suffix(".away"))
        write_params(here, MOBILENET | {"data.path": "photos", "numerics": how})
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


def growth(how: str) -> dict[str, float]:
    """Whole commands on small images, with activations at a cut: seconds and memory by the number of images."""
    figures = {}
    for n in SIZES:
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            make_small(here / "small", n)
            changes = {"data.source": "folder", "data.path": "small", "backbone.input_size": 32, "extract.views": 0}
            write_params(here, changes | {"numerics": how})
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
    parser.add_argument("--numerics", choices=("portable", "native"), default="portable", help="of graft")
    options = parser.parse_args()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    numerics.apply(options.numerics)
    start_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos.resolve() if options.photos else Path(folder) / "photos"
        if options.photos is None:
            make_photos(photos, 3000)
        others = {"predict": other(sys.executable, "keras_predict.py", photos, options.images, environment)}
        if options.torch:
            others["pytorch"] = other(options.torch, "torch_extract.py", photos, TORCH_IMAGES, environment)
        found = rates(photos, options.images, options.rounds, options.numerics, others)
        limit = min(found["engine"], found["decode"])
        together = 1 / (1 / found["engine"] + 1 / found["decode"])  # on the same cores
        keep(
            {
                **{f"extraction.{name}_per_second": rate for name, rate in found.items()},
                "extraction.vs_predict": found["graft"] / found["predict"],
                "extraction.vs_limit": found["graft"] / limit,
                "extraction.vs_limit_shared": found["graft"] / together,
                **({"extraction.vs_pytorch": found["graft"] / found["pytorch"]} if "pytorch" in found else {}),
            }
        )
        print(f"{'extraction.vs_limit_shared, at least':<36} {SHARED_BAR}")
        keep(increment(photos, options.numerics))
        keep(growth(options.numerics))


if __name__ == "__main__":
    main()
