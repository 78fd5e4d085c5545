"""dvc.yaml says of each stage what its code really reads: modules, tables, parameters, paths."""

from __future__ import annotations

import ast
import hashlib
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from graft.config import schema, yaml_file
from graft.pipeline import code, layout
from graft.tracking import identity

SOURCE = REPOSITORY / "src"
PACKAGE = SOURCE / "graft"
PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
EVERY = {name: entry.get("do", entry) for name, entry in PIPELINE["stages"].items()}
"""Of a stage that there is for each entry of a list: what it does for one."""
STAGES = (*layout.STAGES, *layout.OPTIONAL)


def has_code(file: Path) -> bool:
    """Whether a module is more than a docstring, or a table. Weights are pinned by their sha256 in the code."""
    return len(ast.parse(file.read_text()).body) > 1 if file.suffix == ".py" else file.suffix in code.TABLES_END_IN


def read_by(stage: str) -> set[str]:
    names = code.of_stage(stage)
    files = {file for name in names if (file := code.file(name))}
    tables = {table for name in names for table in code.data_files(name)}
    return {path.relative_to(REPOSITORY).as_posix() for path in files | tables}


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_import_closure_and_its_tables(stage: str) -> None:
    listed: set[str] = set()
    for dep in EVERY[stage]["deps"]:
        if dep.startswith("src/"):
            path = REPOSITORY / dep
            assert path.exists(), dep
            files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
            files = [file for file in files if "__pycache__" not in file.parts and has_code(file)]
            listed |= {file.relative_to(REPOSITORY).as_posix() for file in files}
    assert listed == read_by(stage)


def test_tables_are_found() -> None:
    assert "src/graft/features/engines/portable.json" in read_by("extract")


def attributes(stage: str, name: str) -> set[tuple[str, ...]]:
    """(a, b) for each `name.a.b` in a stage's module, as long as it goes."""
    tree = ast.parse((PACKAGE / "stages" / f"{stage}.py").read_text())
    parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            chain: list[str] = []
            above: Any = parents[id(node)]
            while isinstance(above, ast.Attribute):
                chain.append(above.attr)
                above = parents[id(above)]
            found.add(tuple(chain))
    return found


CHANGES_NOTHING = "ray"
"""Read by stages that a cluster may work for, and listed by none: which one it is re-runs nothing."""

PASSED_ON = {
    "extract": {
        "numerics", "data.kind", "data.source", "data.manifest.columns.second", "backbone", "extract", "train.enabled",
        "finetune.enabled", "finetune.cut",
    }
}  # fmt: skip
"""stage -> what the functions read to which it gives all of params: `plan.make`, `inputs.of`."""


def parameters_read(stage: str) -> set[str]:
    """The keys of params.yaml that a stage uses, `section.key` where it takes one of a section.

    `data = params.data` makes data a name of a section, and so does an argument of a function in the module.
    """
    read = set(PASSED_ON.get(stage, ()))
    for chain in attributes(stage, "params"):
        if chain:
            section, *keys = chain
            kind = schema.Params.model_fields[section].annotation
            inside = keys and keys[0] in getattr(kind, "model_fields", {})
            read.add(f"{section}.{keys[0]}" if inside else section)
    if "data" in read and stage != "prepare":  # handed to a function that takes attributes
        read.discard("data")
        read |= {f"data.{chain[0]}" for chain in attributes(stage, "data") if chain and chain[0] in ("source", "path")}
    return read


def test_the_functions_that_get_all_of_params_read_what_is_listed() -> None:
    read = set()
    for file in (PACKAGE / "features" / "plan.py", PACKAGE / "inputs" / "__init__.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if text.startswith("params."):
                read.add(text.removeprefix("params."))
    assert {key for key in read if not any(other.startswith(f"{key}.") for other in read)} == PASSED_ON["extract"]


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_what_run_reads(stage: str) -> None:
    """`numerics` steers every stage that computes: it is set as the process starts."""
    listed = set(EVERY[stage]["params"])
    read = parameters_read(stage) | ({"numerics"} if stage != "prepare" else set())
    missing = {key for key in read if not {key, key.split(".")[0]} & listed} - {CHANGES_NOTHING}
    assert CHANGES_NOTHING not in listed
    assert not missing, f"read but not listed: {missing}"
    if stage == "evaluate":
        read |= set(schema.Params.model_fields) - {key.removesuffix(".") for key in identity.UNTRACKED}
    unused = {key for key in listed if not any(r == key or r.startswith(f"{key}.") for r in read)}
    assert not unused, f"listed but not read: {unused}"


def test_evaluate_runs_whatever_parameter_names_another_pass() -> None:
    """Else the pass of an edit that changes no byte would have no run."""
    named = {key for key in schema.Params.model_fields if not f"{key}.".startswith(identity.UNTRACKED)}
    assert set(EVERY["evaluate"]["params"]) == named


@pytest.mark.parametrize("stage", STAGES)
def test_paths_are_what_run_reads_and_writes(stage: str) -> None:
    """evaluate also completes the MLflow run, which shows what prepare found and the model's card."""
    entry = EVERY[stage]
    listed: set[str] = set()
    for kind in ("deps", "outs", "metrics", "plots"):
        for one in entry.get(kind, []):
            listed.add(next(iter(one)) if isinstance(one, dict) else one)
    listed = {path.removeprefix("${paths.").removesuffix("}") for path in listed if path.startswith("${paths.")}
    used = {chain[0] for chain in attributes(stage, "paths") if chain}
    if "histories" in used:
        used = used - {"histories"} | {"train_history", "finetune_history"}
    if stage == "evaluate":
        used |= {"quarantine", "duplicates", "prepare_metrics", "card"}
    if stage == "extract":
        used |= {"features", "activations"}  # through the plan
    if stage == "export":
        used |= {"model", "card"}  # which it is given
    assert used == listed


def test_every_path_is_written_once_and_has_a_stage() -> None:
    names = set(PIPELINE["vars"][0]["paths"])
    assert names == set(layout.NAMES)
    assert [str(path) for path in layout.exported(REPOSITORY / "dvc.yaml")] == list(
        PIPELINE["vars"][1]["exports"].values()
    )
    text = (REPOSITORY / "dvc.yaml").read_text()
    for name in names:
        assert f"${{paths.{name}}}" in text, name
    written = [
        str(next(iter(one)) if isinstance(one, dict) else one)
        for entry in PIPELINE["stages"].values()
        for kind in ("outs", "metrics")
        for one in entry.get(kind, [])
    ]
    assert sorted(written) == sorted(f"${{paths.{name}}}" for name in names)


def test_a_stage_takes_no_option() -> None:
    """But which entry of its list it is for."""
    commands = {name: entry["cmd"] for name, entry in EVERY.items()}
    assert commands == {n: f"graft {n}" for n in layout.STAGES} | {"export": "graft export --to ${item}"}


def test_a_new_split_seed_does_not_reach_extract() -> None:
    assert "seed" not in PIPELINE["stages"]["extract"]["params"]
    assert not any("split" in dep for dep in PIPELINE["stages"]["extract"]["deps"])


def test_no_stage_depends_on_the_tracker_or_the_command_line() -> None:
    for stage in STAGES:
        assert not [name for name in code.of_stage(stage) if name.split(".")[1] in ("tracking", "cli", "config")]


MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "backbones": {"errors"},
    "config": {"errors", "backbones"},
    "pipeline": {"errors", "config"},
    "runtime": {"errors", "pipeline"},
    "inputs": {"errors", "runtime"},
    "examining": {"errors", "inputs", "runtime"},
    "training": {"errors", "runtime"},
    "cluster": {"errors", "runtime"},
    "evaluation": {"errors"},
    "verdicts": {"errors"},
    "convex": {"errors", "runtime"},
    "models": {"errors", "backbones", "cluster", "convex", "pipeline", "runtime", "training"},
    "explaining": {"inputs", "training"},
    "features": {"errors", "backbones", "cluster", "inputs", "pipeline", "runtime", "training"},
    "examples": {"errors", "cluster", "examining", "features", "inputs", "pipeline", "runtime", "training"},
    "probing": {
        "errors", "backbones", "convex", "evaluation", "examples", "features", "inputs", "models", "pipeline",
        "runtime", "training", "verdicts",
    },
    "audit": {"errors", "convex", "examples", "features", "runtime"},
    "export": {"errors", "features", "inputs", "runtime", "training", "verdicts"},
    "stages": {
        "errors", "backbones", "evaluation", "examples", "export", "features", "inputs", "models", "runtime", "training"
    },
    "range_test": {"errors", "examples", "features", "models", "runtime", "stages", "training"},
    "repetition": {"errors", "evaluation", "examples", "models", "runtime", "stages", "training", "verdicts"},
    "study": {"errors", "backbones", "examples", "features", "models", "repetition"},
    "serving": {"errors", "examining", "backbones", "inputs", "training"},
    "prediction": {
        "errors", "examining", "backbones", "examples", "features", "inputs", "models", "runtime", "serving"
    },
    "server": {
        "errors", "examining", "explaining", "features", "inputs", "prediction", "runtime", "serving", "training"
    },
    "reporting": {
        "errors", "evaluation", "examples", "explaining", "inputs", "models", "runtime", "training", "verdicts"
    },
    "lineage": {"errors", "examining", "examples", "inputs"},
    "project": {"errors", "backbones", "config", "examples", "inputs", "pipeline"},
    "planning": {"errors", "backbones", "config", "examples", "features", "pipeline", "project", "runtime", "tracking"},
    "presets": {"errors", "backbones", "config", "evaluation", "pipeline", "project", "tracking", "verdicts"},
    "reproduction": {
        "errors", "config", "evaluation", "features", "models", "pipeline", "project", "runtime", "tracking",
        "verdicts",
    },
    "tracking": {
        "errors", "config", "evaluation", "examples", "inputs", "models", "pipeline", "runtime", "serving",
    },
    "registry": {"errors", "evaluation", "reporting", "tracking", "verdicts"},
    "hooks": {"errors", "config", "pipeline", "tracking"},
    "doctor": {"errors", "backbones", "config", "features", "pipeline", "runtime", "tracking"},
    "cli": {
        "errors", "audit", "backbones", "config", "doctor", "evaluation", "examples", "features", "hooks", "inputs",
        "lineage", "pipeline", "planning", "prediction", "presets", "probing", "project", "range_test", "registry",
        "repetition", "reporting", "reproduction", "runtime", "server", "serving", "stages", "study", "tracking",
        "training", "verdicts",
    },
    "__main__": {"cli", "config", "errors", "pipeline", "runtime"},
}  # fmt: skip
"""What stands right under graft -> what it may import at run time, beside itself."""

ONLY_IN = {"mlflow": {"serving", "tracking"}, "typer": {"cli"}}
"""Library -> the only ones that may import it."""


def faults_of(text: str, part: str) -> set[str]:
    """What a source text imports and may not. part: of MAY_IMPORT."""
    tree = ast.parse(text)
    own = {name.split(".")[1] for name in code.imports(tree)} - {part}
    libraries = set()
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        libraries |= {name.split(".")[0] for name in names} & set(ONLY_IN)
    return (own - MAY_IMPORT[part]) | {library for library in libraries if part not in ONLY_IN[library]}


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_run_one_way(file: Path) -> None:
    """cli -> stages, tracking -> the packages -> runtime -> pipeline -> config -> errors; MLflow only in tracking."""
    text = file.read_text()
    assert faults_of(text, file.relative_to(PACKAGE).with_suffix("").parts[0]) == set()
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level]


def test_there_is_one_way() -> None:
    assert list(TopologicalSorter(MAY_IMPORT).static_order())[-1] == "__main__"
    assert set(MAY_IMPORT) == {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import graft.stages.train", "stages"),
        ("from graft import cli", "cli"),
        ("from graft.stages import train as stage", "stages"),
        ("from graft.tracking.run import live", "tracking"),
        ("def later():\n    from graft.config import load", "config"),
        ("try:\n    import mlflow.pyfunc\nexcept ImportError:\n    pass", "mlflow"),
        ("from mlflow import MlflowClient", "mlflow"),
        ("if not TYPE_CHECKING:\n    from graft import cli", "cli"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from graft import cli", "cli"),
    ],
)
def test_an_import_that_turns_back_is_seen(text: str, fault: str) -> None:
    assert faults_of(text, "examples") == {fault}


@pytest.mark.parametrize(
    "text",
    [
        "from graft.errors import DataError",
        "from graft.examples.sources import base",
        "if TYPE_CHECKING:\n    from graft.config.data import DataParams",
        '"""Not `import mlflow`, nor graft.stages."""',
    ],
)
def test_an_import_that_may_be_is_let_through(text: str) -> None:
    assert faults_of(text, "examples") == set()


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
    lock: dict[str, Any] = yaml_file.read(REPOSITORY / "dvc.lock")["stages"]
    assert list(lock) == list(layout.STAGES)
    values = yaml_file.read(REPOSITORY / "params.yaml")
    for stage, entry in lock.items():
        for key, value in entry["params"]["params.yaml"].items():
            node: Any = values
            for part in key.split("."):
                node = node[part]
            assert node == value, f"{stage}: {key}"
        for dep in entry["deps"]:
            path = REPOSITORY / dep["path"]
            if dep["path"].startswith("src/") and path.is_file():
                md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                assert md5 == dep["md5"], f"{dep['path']} changed: run `make repro` and commit dvc.lock"
    metrics = REPOSITORY / "metrics" / "summary.json"
    md5 = hashlib.md5(metrics.read_bytes(), usedforsecurity=False).hexdigest()
    assert [md5] == [out["md5"] for out in lock["evaluate"]["outs"] if out["path"] == "metrics/summary.json"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("vars: []", "vars: must hold the pipeline's paths"),
        (
            "vars:\n  - paths: {head: models/head.keras}",
            "vars.paths.catalogue: must be there, with a path. Got nothing.",
        ),
        ("vars:\n  - paths: {heads: a}", "vars.paths.heads: unknown name; must be one of"),
        ("vars:\n  - paths: {head: 3}", "vars.paths.head: must be a path. Got 3."),
    ],
)
def test_paths_that_are_not_there_are_one_error(tmp_path: Path, text: str, fault: str) -> None:
    from graft.errors import ParamsError

    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(ParamsError) as caught:
        layout.read(tmp_path / "dvc.yaml")
    assert any(one.startswith(fault) for one in caught.value.faults), caught.value.faults
