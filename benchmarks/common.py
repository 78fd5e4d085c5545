"""What the benchmarks share: images made on the spot, a pipeline's project in a temporary folder, timed commands."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent


def make_photos(folder: Path, n: int) -> None:
    """JPEGs of 400 x 534 pixels and about 30 KB, as the photos of a shop are, in ten classes."""
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


def write_params(
    folder: Path, changes: Mapping[str, Any], recipe: str = "params.yaml", repository: Path = REPOSITORY
) -> None:
    """The repository's params.yaml with changes, {"train.epochs": 3}, and its dvc.yaml, which has the paths.

    recipe: another such file of the repository, as a preset is.
    """
    tree = yaml.safe_load((repository / recipe).read_text())
    for key, value in changes.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node[section]
        node[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    shutil.copy(repository / "dvc.yaml", folder)


def make_project(folder: Path, changes: Mapping[str, Any], repository: Path = REPOSITORY) -> None:
    """A clone with other params; its code is the repository's own."""
    for name in ("src", "data/relabel", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        source, target = repository / name, folder / name
        if not source.exists():  # in an earlier commit
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    write_params(folder, changes, repository=repository)
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=folder, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "start"], cwd=folder, check=True)


WATCHED = (
    "import resource, subprocess, sys, time; began = time.perf_counter(); subprocess.run(sys.argv[1:], check=True); "
    "print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6)"
)


def timed(command: list[str], folder: Path, cache: Path, python: Path = Path(sys.executable)) -> tuple[float, float]:
    """(seconds, peak memory in GB of its largest process) of a whole command; where it fails, what it said.

    A project's sources are the ones that are installed, as in a user's checkout. python: in whose environment.
    """
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"GRAFT_CACHE_DIR": str(cache), "PATH": path}
    if (folder / "src").is_dir():
        others = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder / "src"), others]))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


PREPARE = ["graft", "prepare"]
EXTRACT = ["graft", "extract"]
