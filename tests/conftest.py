"""Shared by all tests: generated images, a tiny project under DVC with a SQLite MLflow store."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent
CLASSES = ("circle", "cross", "stripes")
NO_TEXT = {"text": None, "second": None}
"""Columns of a manifest that lists images."""

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Not the user's cache: a test must not find what another run left.
os.environ["GRAFT_CACHE_DIR"] = tempfile.mkdtemp(prefix="graft-tests-")


TAKE_LONGEST = (
    "test_pipeline.py", "test_matrix.py", "test_hooks.py", "test_text_commands.py", "test_vision_pass.py",
    "test_text_export.py", "test_code_key.py", "test_extras.py", "test_text_report.py", "test_backbones.py",
    "test_cache.py", "test_plan.py", "test_models.py", "test_reproduce.py", "test_shards.py", "test_text.py",
    "test_training.py", "test_repeat.py", "test_vision.py", "test_ray.py", "test_tracking.py", "test_text_use.py",
    "test_warm.py", "test_export.py", "test_gates.py", "test_serve.py", "test_scratch.py", "test_taps.py",
    "test_study.py", "test_probe.py",
)  # fmt: skip
"""Files that a worker begins with: each is one worker's, and what is begun last is done alone."""


def pytest_collection_finish() -> None:
    """What the tests import stays until the end, and is not looked through for garbage again and again.

    Garbage took 2.5 of the 34 CPU seconds of test_scratch.py alone, and takes longer the more a worker has in memory.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(TAKE_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def kept_environment() -> Iterator[None]:
    """What a test puts into the environment, graft's own code too, ends with it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


of_a_test = pytest.fixture(autouse=True)(kept_environment)
of_a_file = pytest.fixture(autouse=True, scope="module")(kept_environment)


def elsewhere(work: Callable[..., T], *arguments: object) -> T:
    """work(*arguments) in a new process. In this one oneDNN keeps the instruction set of its first use, and OpenVINO
    crashes where bfloat16 is asked of one that has none."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real photos and ImageNet weights."""
    folder = os.environ.get("GRAFT_REAL_DATA")
    if not folder:
        pytest.skip("GRAFT_REAL_DATA is not set: no real photos and weights here")
    return Path(folder).resolve()


def drawing(kind: str, seed: int, side: int = 40) -> np.ndarray:
    """A (side, side, 3) uint8 picture of one of CLASSES, at a random place in a random colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    cy, cx = rng.uniform(0.35, 0.65, 2) * side
    radius = rng.uniform(0.2, 0.3) * side
    shape = {
        "circle": (y - cy) ** 2 + (x - cx) ** 2 < radius**2,
        "cross": (abs(y - cy) < side / 12) | (abs(x - cx) < side / 12),
        "stripes": (x // 4) % 2 == 0,
    }[kind]
    picture = rng.integers(0, 60, (side, side, 3))
    picture[shape] += rng.integers(120, 190, 3)
    return picture.astype(np.uint8)


def encoded(pixels: np.ndarray, file_format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, file_format, **options)
    return out.getvalue()


def write_drawings(folder: Path, per_class: int, first_seed: int = 0) -> None:
    """`per_class` PNG files in a directory for each of CLASSES."""
    for k, kind in enumerate(CLASSES):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            pixels = drawing(kind, first_seed + 1000 * k + i)
            (folder / kind / f"{i:03d}.png").write_bytes(encoded(pixels))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory per class, 20 drawings each."""
    folder = tmp_path_factory.mktemp("images")
    write_drawings(folder, 20)
    return folder


def default_params() -> dict[str, Any]:
    """The repository's own params.yaml, as a tree to change."""
    tree: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    return tree


def tiny_params() -> dict[str, Any]:
    """The real params.yaml, shrunk: bundled backbone at 32 px on a folder of drawings, two epochs each."""
    tree = default_params()
    tree["data"] |= {"source": "folder", "path": "data/drawings"}
    tree["backbone"] |= {"input_size": 32}
    tree["train"] |= {"epochs": 3, "batch_size": 8}
    tree["finetune"] |= {"epochs": 2, "batch_size": 8, "cut": "block_16_project"}
    tree["evaluate"] |= {"top_k": 2}
    return tree


def changed(tree: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """`tree` with changes: {"data.split.method": "counts"}."""
    for key, value in (changes or {}).items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node[section]
        assert last in node, key
        node[last] = value
    return tree


def params_of(changes: dict[str, Any] | None = None, tree: dict[str, Any] | None = None) -> Any:
    """params.yaml as graft reads it, with changes, not checked as a whole; tree: another than the default one."""
    from graft.backbones import automatic
    from graft.config.schema import Params

    params = Params.model_validate(changed(tree or default_params(), changes))
    backbone = automatic.backbone(params.backbone)
    finetune = automatic.finetune(params.finetune, backbone.name)
    return params.model_copy(update={"backbone": backbone, "finetune": finetune})


QUICK_STEP = {"finetune.batch_size": 2}
"""Two shards in place of four: making the graph of a step takes most of a tiny pass, and half as long then."""


def few_layers(folder: Path) -> dict[str, Any]:
    """Changes for a network that is built in a third of MobileNetV2's time, from a file of weights in `folder`.

    They are those that Keras draws, but for the statistics of its norms, which are those of drawings: without them
    every image has nearly the same features.
    """
    from graft.backbones import build

    file = folder / "few.weights.h5"
    model = build.build("MobileNet", 0.25, 32, "random", 0).model
    for layer in model.layers:
        if hasattr(layer, "momentum"):
            layer.momentum = 0.0
    model(np.stack([drawing(kind, seed, 32) for kind in CLASSES for seed in range(10)]) / 127.5 - 1, training=True)
    model.save_weights(file)
    return {
        "backbone.name": "MobileNet", "backbone.alpha": 0.25, "backbone.input_size": 32,
        "backbone.weights": str(file), "finetune.cut": "conv_pw_13",
    }  # fmt: skip


def trained_pass(
    folder: Path, prepare: Callable[..., PreparedData], changes: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """Parameters and paths of six drawings a class on which `train` has run, to be fine-tuned within seconds."""
    from graft.stages import extract, train

    write_drawings(folder, 6)
    prepared = prepare(folder)
    small = {
        "data.source": "folder", "data.path": str(folder), "extract.views": 0, "train.epochs": 2, "finetune.epochs": 1,
    }  # fmt: skip
    small |= QUICK_STEP | few_layers(folder)
    params, paths = params_of(small | (changes or {})), paths_in(prepared.folder)
    extract.run(params, paths)
    train.run(params, paths, lambda epoch, metrics: None)
    return params, paths


@dataclass(frozen=True)
class Pass:
    """A pass on drawings. folder: where params.yaml and dvc.yaml lie, and everything that was written."""

    params: Any
    paths: Any
    folder: Path

    def contents(self, *beside: str) -> dict[str, str]:
        """sha256 of every file but those of MLflow and of the folders `beside`."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and "mlflow" not in path.name]
        kept = [path for path in files if not {"mlruns", *beside} & set(path.parts)]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def whole_pass(folder: Path, changes: dict[str, Any], n_images: int) -> Pass:
    """All stages in this process, without DVC, on so many drawings a class."""
    from graft.stages import evaluate, finetune, train

    passed = extracted_pass(folder, changes, n_images)
    params, paths = passed.params, passed.paths
    train.run(params, paths, lambda epoch, values: None)
    finetune.run(params, paths, lambda epoch, values: None)
    evaluate.run(params, paths)
    return passed


def written(folder: Path, tree: dict[str, Any]) -> tuple[Any, Any]:
    """params.yaml and dvc.yaml of a pass in `folder`; what graft reads of them."""
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    params, paths = params_of(tree=tree), paths_in(folder)
    named = {name: str(path.relative_to(folder)) for name, path in asdict(paths).items()}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"vars": [{"paths": named}]}))
    return params, paths


def extracted_pass(folder: Path, changes: dict[str, Any], n_images: int) -> Pass:
    """The first two of these stages: nothing is trained."""
    from graft.stages import extract, prepare

    write_drawings(folder / "images", n_images)
    small = QUICK_STEP | changes | {"data.path": str(folder / "images")}
    params, paths = written(folder, changed(tiny_params(), small))
    prepare.run(params, paths)
    extract.run(params, paths)
    return Pass(params, paths, folder)


def data_params(changes: dict[str, Any] | None = None) -> Any:
    """The `data` section of the default params.yaml as graft reads it, with changes: {"split.method": "counts"}."""
    return params_of({f"data.{key}": value for key, value in (changes or {}).items()}).data


def paths_in(folder: Path) -> Any:
    """The pipeline's paths, all of them inside `folder`."""
    from graft.pipeline import layout

    named = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["vars"][0]["paths"]
    return layout.Paths(**{name: folder / Path(path).name for name, path in named.items()})


@dataclass
class PreparedData:
    """What `prepare` wrote, read back, and what it said."""

    folder: Path
    catalogue: pd.DataFrame
    split: pd.DataFrame
    quarantine: pd.DataFrame
    duplicates: pd.DataFrame
    metrics: dict[str, Any]
    said: str

    @property
    def sides(self) -> dict[str, str]:
        """path -> side"""
        return dict(zip(self.split["path"], self.split["split"], strict=True))

    @property
    def aside(self) -> dict[str, tuple[str, str]]:
        """path -> (reason, detail) of what is set aside"""
        rows = self.quarantine[self.quarantine["state"] == "quarantined"]
        return {row.path: (row.reason, row.detail) for row in rows.itertuples()}


@pytest.fixture
def prepare(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Callable[..., PreparedData]:
    """prepare(root, changes of the data section, source="folder", seed=0): the stage, run in this process."""

    def run(
        root: Path,
        changes: dict[str, Any] | None = None,
        source: str = "folder",
        seed: int = 0,
        out: Path | None = None,
    ) -> PreparedData:
        from graft.stages import prepare as stage

        folder = out or tmp_path_factory.mktemp("prepared")
        paths = paths_in(folder)
        data = {
            "source": source,
            "path": str(root),
            "max_bad_fraction": 1.0,
            "max_missing_fraction": 1.0,
            **(changes or {}),
        }
        params = params_of({f"data.{key}": value for key, value in data.items()} | {"seed": seed})
        capsys.readouterr()
        stage.run(params, paths)
        files = (paths.catalogue, paths.split, paths.quarantine, paths.duplicates)
        tables = [pd.read_csv(file, dtype=str, keep_default_na=False) for file in files]
        return PreparedData(folder, *tables, json.loads(paths.prepare_metrics.read_text()), capsys.readouterr().err)

    return run


SEPARATOR = "\f"
DVC = f"""
import shlex, sys
from dvc.cli import main
for command in sys.argv[1:]:
    print({SEPARATOR!r}, end="", flush=True)
    assert main(shlex.split(command)) == 0, command
    sys.stdout.flush()
"""


class Project:
    """A user's clone in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MLFLOW_", "DVC_", "GIT_")) and key != "PYTHONPATH"
        } | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }

    def run(self, *command: str, ok: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ok:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def dvc(self, *commands: str) -> list[str]:
        """What DVC prints for each of these commands, all run by one process: most of their time is its start."""
        return self.run(sys.executable, "-c", DVC, *commands).stdout.split(SEPARATOR)[1:]

    def write_params(self, tree: dict[str, Any]) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))

    def change(self, **changes: dict[str, Any]) -> None:
        """Change keys of sections: change(train={"epochs": 1})."""
        tree = yaml.safe_load((self.folder / "params.yaml").read_text())
        for section, values in changes.items():
            tree[section] |= values
        self.write_params(tree)

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "state")

    def executed(self, output: str) -> list[str]:
        """The stages that DVC says it ran."""
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]

    def client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def runs(self) -> list[Any]:
        """All MLflow runs, newest first."""
        client = self.client()
        experiments = [e.experiment_id for e in client.search_experiments()]
        return list(client.search_runs(experiments, order_by=["start_time DESC"]))


def make_project(folder: Path, params: dict[str, Any], per_class: int = 20) -> Project:
    """Copy what a clone has, with `params` and drawings, into a new git and DVC repository."""
    for name in ("src", "dvc.yaml", "data/relabel", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        source = REPOSITORY / name
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    write_drawings(folder / "data" / "drawings", per_class)
    project = Project(folder)
    project.write_params(params)
    project.run("git", "init", "-q")
    project.commit()
    return project


@pytest.fixture
def params_with(tmp_path: Path) -> Callable[..., Path]:
    """Writes the default params.yaml with changes, 'train.epochs'=3 style, and returns its path."""

    def write(changes: dict[str, Any] | None = None, drop: tuple[str, ...] = ()) -> Path:
        tree = default_params()
        for key, value in (changes or {}).items():
            *sections, last = key.split(".")
            node = tree
            for section in sections:
                node = node[section]
            node[last] = value
        for key in drop:
            *sections, last = key.split(".")
            node = tree
            for section in sections:
                node = node[section]
            del node[last]
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return write
