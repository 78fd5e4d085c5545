"""What an exported file costs: milliseconds a call, and the memory of a process that has no more than its runtime.

`measured` starts `python -m graft.export.speed` once for one thread and once for all, since TensorFlow reads how many
there are as it starts, and since only a fresh process tells what it needs.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import SurroundingsError
from graft.runtime.computing import numerics

WARM_UP, LEAST, MOST, SECONDS = 3, 10, 200, 2.0
"""Calls that are not counted; then between LEAST and MOST, as many as SECONDS allow."""

TENSORFLOW_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def measured(name: str, folder: Path, examples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Of an exported file, run on one example at a time.

    examples: name of a figure -> (1, ...) what the file reads. Under that name: one thread and all threads, median and
    95th percentile, in milliseconds; processor: the median of the processor's time, of all threads together, which
    other work on the machine hardly changes. peak_megabytes: of the process with one thread on the first example.
    """
    one, several = (_in_a_process(name, folder, examples, threads) for threads in (1, 0))
    return {figure: {"one_thread": one[figure], "all_threads": several[figure]} for figure in examples} | {
        "peak_megabytes": one["peak_megabytes"]
    }


def _in_a_process(name: str, folder: Path, examples: Mapping[str, np.ndarray], threads: int) -> dict[str, Any]:
    # Not the cap of `numerics: portable`, which stands for how graft computes.
    inherited = (key for key in os.environ if key not in (*TENSORFLOW_THREADS, numerics.ISA))
    environment = {key: os.environ[key] for key in inherited}
    if threads:
        environment |= dict.fromkeys((*TENSORFLOW_THREADS, "OMP_NUM_THREADS"), str(threads))
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "examples.npz"
        np.savez(file, allow_pickle=False, **examples)
        arguments = [name, str(folder), str(file), str(threads)]
        done = subprocess.run(
            [sys.executable, "-m", "graft.export.speed", *arguments],
            env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-300:]
        raise SurroundingsError(f"{folder}: must run in a process of its own, to be measured. Got: {said}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _main(name: str, folder: Path, file: Path, threads: int | None) -> Mapping[str, Any]:
    from graft.export.formats import FORMATS

    run = FORMATS[name].load(folder, threads)
    found: dict[str, Any] = {}
    with np.load(file) as examples:
        for figure in examples.files:
            found[figure] = _latency(run, examples[figure])
            found.setdefault("peak_megabytes", _peak_megabytes())
    return found


def _latency(run: Any, examples: np.ndarray) -> dict[str, float]:
    for _ in range(WARM_UP):
        run(examples)
    taken: list[float] = []
    processor: list[float] = []
    while len(taken) < LEAST or (len(taken) < MOST and sum(taken) < SECONDS):
        began, busy = time.perf_counter(), time.process_time()
        run(examples)
        taken.append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
    found = {"median": np.median(taken), "p95": np.quantile(taken, 0.95), "processor": np.median(processor)}
    return {name: round(float(seconds) * 1000, 3) for name, seconds in found.items()}


def _peak_megabytes() -> float:
    """Of this process; `getrusage` would have the peak of the one that started it, too, where Linux can say better."""
    try:
        status = Path("/proc/self/status").read_text()
        kilobytes = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
    except (OSError, StopIteration):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return round(kilobytes / 1024, 1)


if __name__ == "__main__":
    _name, _folder, _file, _threads = sys.argv[1:]
    sys.stdout.write(json.dumps(_main(_name, Path(_folder), Path(_file), int(_threads) or None)) + "\n")
