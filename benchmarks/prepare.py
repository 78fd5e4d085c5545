"""What `prepare` costs: against bare decoding of the same files, with 100,000 images, and when nothing has changed.

    python benchmarks/prepare.py                          # photos made on the spot
    python benchmarks/prepare.py --photos some/directory  # a directory per class

Each ratio compares two ways in one run: `rounds` times in turn, the best of each.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from common import PREPARE, make_photos, make_small, timed, write_params
from record import keep

CHUNK = 64


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
    from graft.config.load import load
    from graft.examples.checks.examination import examine_all
    from graft.examples.checks.runners import local

    with tempfile.TemporaryDirectory() as cache:
        os.environ["GRAFT_CACHE_DIR"] = cache
        write_params(Path(cache), {"data.source": "folder", "data.path": str(root), "data.max_pixels": 10**9})
        data = load(Path(cache, "params.yaml")).data
        began = time.perf_counter()
        list(examine_all(data, paths, local.run))
        return len(paths) / (time.perf_counter() - began)


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
        write_params(project, {"data.source": "folder", "data.path": str(Path(folder) / "small")})
        first, _ = timed(PREPARE, project, Path(folder) / "cache")
        second, memory = timed(PREPARE, project, Path(folder) / "cache")
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
