"""dvc.yaml says of each stage what its code really reads: modules, parameters, paths."""

from __future__ import annotations

import ast
import hashlib
import inspect
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from graft import params

SOURCE = REPOSITORY / "src"
PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
STAGES = ("prepare", "extract", "train", "finetune", "evaluate")
CHANGE_NO_OUTPUT = {f"src/graft/{name}.py" for name in ("__init__", "cache", "cores", "errors", "progress", "start")}
"""Modules that only word messages, count cores, have the version or save time."""


def module_file(name: str) -> Path | None:
    path = SOURCE / Path(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def run_time_imports(text: str, package: str) -> set[str]:
    """Every module that a source text may import at run time, lazily or not, by its full name.

    package: the dotted name of the package that it stands in. `from a import b` gives `a` and `a.b`.
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def imported(file: Path) -> set[Path]:
    """graft's own modules that `file` imports at run time, lazily or not."""
    package = ".".join(file.relative_to(SOURCE).parent.parts)
    names = (name for name in run_time_imports(file.read_text(), package) if name.split(".")[0] == "graft")
    return {found for name in names if (found := module_file(name))}


def import_closure(stage: str) -> set[str]:
    seen: set[Path] = set()
    pending = {SOURCE / "graft" / "stages" / f"{stage}.py"}
    while pending:
        file = pending.pop()
        seen.add(file)
        pending |= imported(file) - seen
    paths = {file.relative_to(REPOSITORY).as_posix() for file in seen if _has_code(file)}
    return paths - CHANGE_NO_OUTPUT


def _has_code(file: Path) -> bool:
    """Whether a module is more than a docstring."""
    return len(ast.parse(file.read_text()).body) > 1


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_import_closure(stage: str) -> None:
    listed: set[str] = set()
    for dep in PIPELINE["stages"][stage]["deps"]:
        if dep.startswith("src/"):
            path = REPOSITORY / dep
            assert path.exists(), dep
            files = path.rglob("*.py") if path.is_dir() else [path]
            listed |= {file.relative_to(REPOSITORY).as_posix() for file in files if _has_code(file)}
    assert listed == import_closure(stage)


def parameters_read(stage: str) -> set[str]:
    """The keys of params.yaml that `run` uses: `section.key` where it only takes attributes, else `section`."""
    module = __import__(f"graft.stages.{stage}", fromlist=["run"])
    signature = inspect.signature(module.run)
    sections = [name for name in signature.parameters if name in params.Params.model_fields]
    tree = ast.parse(inspect.getsource(module.run))
    read: set[str] = set()
    for section in sections:
        whole = section == "seed"
        keys = set()
        attributes = {id(n.value): n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == section:
                whole |= id(node) not in attributes
                keys.add(attributes.get(id(node), ""))
        model = params.Params.model_fields[section].annotation
        if whole or keys == set(getattr(model, "model_fields", {})):
            read.add(section)
        else:
            read |= {f"{section}.{key}" for key in keys}
    return read


def _covered(key: str, by: set[str]) -> bool:
    return key in by or key.split(".")[0] in by


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_what_run_reads(stage: str) -> None:
    listed = set(PIPELINE["stages"][stage]["params"])
    read = parameters_read(stage)
    assert all(_covered(key, listed) for key in read), f"read but not listed: {read - listed}"
    unused = {key for key in listed if key not in read and not any(r.startswith(f"{key}.") for r in read)}
    assert not unused, f"listed but not read: {unused}"


def test_a_new_split_seed_does_not_reach_extract() -> None:
    assert "seed" not in PIPELINE["stages"]["extract"]["params"]
    assert not any("split" in dep for dep in PIPELINE["stages"]["extract"]["deps"])


def test_no_stage_depends_on_the_tracker_or_the_command_line() -> None:
    for stage in STAGES:
        assert not [
            path for path in import_closure(stage) if "tracking" in path or path.endswith(("cli.py", "params.py"))
        ]


COMMON = {"errors", "progress"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "cores": set(),
    "session": set(),
    "ahead": set(),
    "start": {"progress"},
    "cache": COMMON,
    "backbones": COMMON | {"start"},
    "params": {"errors", "backbones"},
    "data": COMMON | {"ahead", "cache", "cores", "start"},
    "features": COMMON | {"ahead", "backbones", "cache"},
    "models": COMMON | {"backbones"},
    "training": COMMON | {"features"},
    "evaluation": COMMON,
    "stages": COMMON | {"backbones", "data", "evaluation", "features", "models", "training"},
    "tracking": COMMON | {"cores", "data", "session"},
    "cli": COMMON | {"backbones", "data", "evaluation", "features", "params", "session", "stages", "start", "tracking"},
    "warm": COMMON | {"cli", "session", "start"},
    "__main__": {"cli", "warm"},
}
"""Package or module right under graft -> those that it may import at run time, beside itself."""

ONLY_IN = {"mlflow": {"tracking"}, "typer": {"cli"}}
"""Library -> the only ones that may import it."""


def part_of(name: str) -> str:
    """What stands right under graft: "graft.data.sources" is in "data"."""
    return name.split(".")[1] if "." in name else ""


def faults_of(text: str, package: str, part: str) -> set[str]:
    """What a source text in a package of graft's imports and may not. part: of MAY_IMPORT."""
    names = run_time_imports(text, package)
    own = {part_of(name) for name in names if name.split(".")[0] == "graft" and module_file(name)} - {"", part}
    libraries = {name.split(".")[0] for name in names} & set(ONLY_IN)
    return (own - MAY_IMPORT[part]) | {library for library in libraries if part not in ONLY_IN[library]}


FILES = [file for file in sorted((SOURCE / "graft").rglob("*.py")) if file != SOURCE / "graft" / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE / "graft").as_posix())
def test_imports_run_one_way(file: Path) -> None:
    """cli -> stages -> the packages -> errors, progress; MLflow only in tracking."""
    place = file.relative_to(SOURCE).with_suffix("").parts
    assert faults_of(file.read_text(), ".".join(place[:-1]), place[1]) == set()


def test_there_is_one_way() -> None:
    assert list(TopologicalSorter(MAY_IMPORT).static_order())[-1] == "__main__"
    assert set(MAY_IMPORT) == {file.relative_to(SOURCE / "graft").parts[0].removesuffix(".py") for file in FILES}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import graft.stages.train", "stages"),
        ("from graft import cli", "cli"),
        ("from graft.stages import train as stage", "stages"),
        ("from graft.tracking.run import live", "tracking"),
        ("from ...tracking import run", "tracking"),
        ("from ... import cli", "cli"),
        ("def later():\n    from graft import params", "params"),
        ("try:\n    import mlflow.pyfunc\nexcept ImportError:\n    pass", "mlflow"),
        ("from mlflow import MlflowClient", "mlflow"),
        ("if not TYPE_CHECKING:\n    from graft import cli", "cli"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from graft import cli", "cli"),
    ],
)
def test_an_import_that_turns_back_is_seen(text: str, fault: str) -> None:
    """Planted into `graft.data.sources`."""
    assert faults_of(text, "graft.data.sources", "data") == {fault}


@pytest.mark.parametrize(
    "text",
    [
        "from graft.errors import DataError",
        "from graft.data.sources import base",
        "from . import base",
        "from ..labels import read",
        "if TYPE_CHECKING:\n    from graft.params import DataParams\n    from mlflow import MlflowClient",
        '"""Not `import mlflow`, nor graft.stages."""',
    ],
)
def test_an_import_that_may_be_is_let_through(text: str) -> None:
    assert faults_of(text, "graft.data.sources", "data") == set()


def test_commands_pass_every_path_that_is_listed() -> None:
    """Each `--option ${paths.x}` of a command is a dep or an out of its stage, and the other way round."""
    for name, stage in PIPELINE["stages"].items():
        used = {part for part in stage["cmd"].split() if part.startswith("${paths.")}
        listed: set[str] = set()
        for kind in ("deps", "outs", "metrics", "plots"):
            for entry in stage.get(kind, []):
                listed.add(next(iter(entry)) if isinstance(entry, dict) else entry)
        listed = {path for path in listed if path.startswith("${paths.")}
        assert used == listed, name


def test_plots_and_artifacts_name_outputs() -> None:
    paths = set(PIPELINE["vars"][0]["paths"].values())
    named: set[str] = {PIPELINE["artifacts"]["classifier"]["path"]}
    for entry in PIPELINE["plots"]:
        if isinstance(entry, str):
            named.add(entry)
        else:
            named |= set(next(iter(entry.values()))["y"])
    assert named <= paths


def test_outputs_are_ignored_by_git() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    for path in PIPELINE["vars"][0]["paths"].values():
        tracked = path.startswith("metrics/")
        assert tracked != any(f"/{path}/".startswith(pattern) for pattern in ignored if pattern.startswith("/")), path


def test_the_committed_lock_belongs_to_the_committed_files() -> None:
    """dvc.lock of the default run: same params, same commands, all five stages."""
    lock: dict[str, Any] = yaml.safe_load((REPOSITORY / "dvc.lock").read_text())["stages"]
    assert list(lock) == list(STAGES)
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for stage, entry in lock.items():
        for key, value in entry["params"]["params.yaml"].items():
            node = values
            for part in key.split("."):
                node = node[part]
            assert node == value, f"{stage}: {key}"
        for dep in entry["deps"]:
            path = REPOSITORY / dep["path"]
            if dep["path"].startswith("src/") and path.is_file():
                md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                assert md5 == dep["md5"], f"{dep['path']} changed: run `make repro` and commit dvc.lock"
    metrics = REPOSITORY / "metrics" / "evaluate.json"
    md5 = hashlib.md5(metrics.read_bytes(), usedforsecurity=False).hexdigest()
    assert [md5] == [out["md5"] for out in lock["evaluate"]["outs"] if out["path"] == "metrics/evaluate.json"]
