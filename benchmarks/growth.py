"""How the stages grow with the number of images: seconds, memory and disk at 10,000, 100,000 and 1,000,000 of them.

    python benchmarks/growth.py [--sizes 10000 100000 1000000] [--classes 100]

`prepare` examines images of 28 x 28 pixels; `extract` finds their features, made up, in graft's cache: how fast they
are computed does not depend on how many there are. `train` (a linear head for two epochs, and ridge) and `evaluate`
follow. Each stage is a process of its own. Memory is what it holds itself (anonymous pages), at most, beyond what it
held before the stage began, and what each process that it starts holds; what is mapped from a file can be taken away at
any time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import growth_data
from record import keep

STAGES = ("prepare", "prepare again", "fill", "extract", "train linear", "train ridge", "evaluate")
"""In this order."""

UNMEASURED = ("know", "fill")
"""What puts verdicts (instead of a first `prepare`) and features into the cache."""


def _paths(folder: Path) -> Any:
    """Of the project, whatever directory this process is in."""
    from graft.pipeline import layout

    relative = layout.read(folder / "dvc.yaml")
    return layout.Paths(**{name: folder / getattr(relative, name) for name in layout.NAMES})


class Held:
    """A context that looks, ten times a second, how many bytes this process holds beyond those at its beginning, and
    how many the largest of those that it has started.
    """

    def __enter__(self) -> Held:
        self._ended = threading.Event()
        self.most_bytes, self.most_bytes_of_others, self._first = 0, 0, _anonymous_bytes("self")
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.most_bytes = max(self.most_bytes, _anonymous_bytes("self") - self._first)
            for child in psutil.Process().children(recursive=True):
                self.most_bytes_of_others = max(self.most_bytes_of_others, _anonymous_bytes(child.pid))


def _anonymous_bytes(process: object) -> int:
    """0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * int(next((line for line in lines if line.startswith("Anonymous:")), "- 0").split()[1])


def _steps(params: Any, paths: Any) -> dict[str, Callable[[], object]]:
    from graft.stages import evaluate, extract, prepare, train

    return {
        "prepare": lambda: prepare.run(params, paths),
        "know": lambda: growth_data.know(params, paths),
        "fill": lambda: growth_data.fill(params, paths),
        "extract": lambda: extract.run(params, paths),
        "train": lambda: train.run(params, paths, lambda epoch, metrics: None),
        "evaluate": lambda: evaluate.run(params, paths),
    }


def run(stage: str, folder: Path) -> None:
    """One stage, in this process; prints its seconds, those of the processor, and the most bytes that it, and another
    process, held.
    """
    from graft.config.load import load
    from graft.runtime.computing import numerics
    from graft.runtime.computing.tensorflow import start_tensorflow

    os.environ["GRAFT_CACHE_DIR"] = str(folder / "cache")
    os.chdir(folder)
    numerics.apply("portable")
    name, *head = stage.split()
    if name not in ("prepare", "know"):
        start_tensorflow()
        import keras  # noqa: F401

    params, paths = load(folder / "params.yaml"), _paths(folder)
    chosen = {"head": head[0], "epochs": 2} if name == "train" else {}
    params = params.model_copy(update={"train": params.train.model_copy(update=chosen)})
    step = _steps(params, paths)[name]
    before = sum(os.times()[:4])
    with Held() as held:
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
    print(seconds, sum(os.times()[:4]) - before, held.most_bytes, held.most_bytes_of_others)


def _finetuned(folder: Path) -> None:
    """What `finetune` writes and `evaluate` reads where it is not enabled: no temperature, no curve."""
    from graft.training import history

    paths = _paths(folder)
    paths.card.parent.mkdir(parents=True, exist_ok=True)
    paths.card.write_text("{}")
    history.write(history.empty(), paths.finetune_history)


def _measured(stage: str, folder: Path, n: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--stage", stage, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, of_processor, held, of_others = map(float, done.stdout.split()[-4:])
    found = {"seconds": seconds, "cpu_seconds": of_processor, "gb": held / 1e9, "others_gb": of_others / 1e9}
    return {f"growth.{stage.replace(' ', '_')}_{what}_{n}": value for what, value in found.items() if value}


def _disk(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=[*STAGES, "know"])
    parser.add_argument("--folder", type=Path, help="where projects are made and kept; empty: somewhere, and removed")
    parser.add_argument("--stage", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        return run(options.stage[0], Path(options.stage[1]))
    for n in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(options.folder or name) / str(n)
            if not folder.exists():
                folder.mkdir(parents=True)
                growth_data.make(folder, n, options.classes)
                _finetuned(folder)
            for stage in options.stages:
                figures = _measured(stage, folder, n)
                if stage not in UNMEASURED:
                    keep(figures)
            keep({f"growth.disk_gb_{n}": _disk(folder) - _disk(folder / "cache") - _disk(folder / growth_data.FOLDER)})


if __name__ == "__main__":
    main()
