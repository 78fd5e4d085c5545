"""dvc.yaml says of each stage what its code really reads: modules, parameters, paths."""

from __future__ import annotations

import ast
import hashlib
import inspect
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


def imported(file: Path) -> set[Path]:
    """graft's own modules that `file` imports at run time, lazily or not."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "graft":
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "graft"}
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


@pytest.mark.parametrize("package", ["features", "models", "training", "evaluation", "tracking"])
def test_imports_run_one_way(package: str) -> None:
    """cli -> stages -> the packages -> params, errors; MLflow only in tracking."""
    for file in (SOURCE / "graft" / package).rglob("*.py"):
        text = file.read_text()
        assert "graft.stages" not in text
        assert "graft.cli" not in text
        if package != "tracking":
            assert "mlflow" not in text.replace("mlflow ui", ""), file
            assert "graft.tracking" not in text


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
