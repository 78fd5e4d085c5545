"""What `prepare` costs: against bare decoding of the same files, with 100,000 images, and when nothing has changed.

    python benchmarks/prepare.py                          # photos made on the spot
    python benchmarks/prepare.py --photos some/directory  # a directory per class

Each ratio compares two ways in one run: `rounds` times in turn, the best of each.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from record import keep

REPOSITORY = Path(__file__).resolve().parent.parent
CHUNK = 64


def make_photos(folder: Path, n: int) -> None:
    """JPEGs of 400 x 534 pixels and about 30 KB, as the photos of a shop are."""
    rng = np.random.default_rng(0)
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8))
        picture = np.asarray(coarse.resize((400, 534), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(picture + rng.integers(-9, 10, picture.shape), 0, 255).astype(np.uint8)
        target = folder / f"class{i % 10}" / f"{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(target, quality=80)


def make_small(folder: Path, n: int) -> None:
    """PNGs of 28 x 28 grey pixels, all in one directory of a class or the other."""
    rng = np.random.default_rng(1)
    for k in range(2):
        (folder / f"class{k}").mkdir(parents=True)
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7), np.uint8))
        out = io.BytesIO()
        coarse.resize((28, 28), Image.Resampling.BICUBIC).save(out, "PNG")
        (folder / f"class{i % 2}" / f"{i:06d}.png").write_bytes(out.getvalue())


def decode(paths: list[str]) -> int:
    """Bare: read and decode in full, to RGB as every viewer does."""
    for path in paths:
        with open(path, "rb") as file:
            image = Image.open(io.BytesIO(file.read()))
            image.load()
            image.convert("RGB")
    return len(paths)


def bare(paths: list[str]) -> float:
    """Images/s of the faster of threads and processes, their start not counted."""
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    rates = []
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        with kind(os.cpu_count()) as pool:
            list(pool.map(decode, chunks[: 2 * (os.cpu_count() or 1)]))
            began = time.perf_counter()
            done = sum(pool.map(decode, chunks))
            rates.append(done / (time.perf_counter() - began))
    return max(rates)


def examined(root: Path, paths: list[str]) -> float:
    """Images/s of graft: decoded in full, hashed with SHA-256 and perceptually, verdicts kept; an empty cache."""
    from graft.data.checks.examine import examine_all

    with tempfile.TemporaryDirectory() as cache:
        os.environ["GRAFT_CACHE_DIR"] = cache
        began = time.perf_counter()
        examine_all("folder", root, paths, 10**9)
        return len(paths) / (time.perf_counter() - began)


def prepare(project: Path, cache: Path) -> tuple[float, float]:
    """Seconds and peak memory in GB of the whole command, its processes included."""
    paths = {
        "catalogue": "catalogue.csv",
        "split": "split.csv",
        "quarantine": "quarantine.csv",
        "duplicates": "duplicates.csv",
        "metrics": "prepare.json",
    }
    options = [part for name, path in paths.items() for part in (f"--{name}", path)]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "graft.cli", "prepare", *options],
        cwd=project, env=os.environ | {"GRAFT_CACHE_DIR": str(cache)}, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def best(rounds: int, *ways: Callable[[], float]) -> list[float]:
    results = [[way() for way in ways] for _ in range(rounds)]
    return [max(values) for values in zip(*results, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="directory of photos; made on the spot where not given")
    parser.add_argument("--small", type=int, default=100_000, help="number of small images")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or Path(folder) / "photos"
        if options.photos is None:
            make_photos(photos, 3000)
        files = sorted(str(path) for path in photos.rglob("*.jpg"))
        relative = [str(Path(path).relative_to(photos)) for path in files]
        decode(files)  # into the page cache
        bare_rate, graft_rate = best(options.rounds, lambda: bare(files), lambda: examined(photos, relative))

        project = Path(folder) / "project"
        project.mkdir()
        make_small(Path(folder) / "small", options.small)
        small = sorted(str(path) for path in (Path(folder) / "small").rglob("*.png"))
        small_bare = bare(small)
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        params["data"] |= {"source": "folder", "path": str(Path(folder) / "small")}
        (project / "params.yaml").write_text(yaml.safe_dump(params))
        first, _ = prepare(project, Path(folder) / "cache")
        second, memory = prepare(project, Path(folder) / "cache")
        keep(
            {
                "prepare.photos_per_second": graft_rate,
                "prepare.vs_decode": graft_rate / bare_rate,
                "prepare.small_images": options.small,
                "prepare.small_seconds": first,
                "prepare.small_vs_decode": options.small / first / small_bare,
                "prepare.small_again_seconds": second,
                "prepare.small_peak_gb": memory,
            }
        )


if __name__ == "__main__":
    main()
