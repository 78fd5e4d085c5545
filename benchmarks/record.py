"""Figures of the benchmarks, kept by name in results.json."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


def machine() -> str:
    """The processor and its number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def keep(figures: dict[str, float]) -> None:
    """Print the figures and put them into results.json, beside those of other benchmarks."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept |= {name: float(f"{value:.3g}") for name, value in figures.items()} | {"machine": machine()}
    RESULTS.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    for name, value in figures.items():
        print(f"{name:<36} {value:.3g}")
