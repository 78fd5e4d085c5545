"""Which sources run: those of a checkout, as in the workspaces of DVC's queue, whatever is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

STAGES = ("prepare", "extract", "train", "finetune", "evaluate")


def said_in(folder: Path, *files: str) -> str:
    """What `graft params check` prints in a folder with these files, each of which tells its name and arguments."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"import sys; print({file!r}, sys.argv[1:])")
    shutil.copy(REPOSITORY / "params.yaml", folder)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-m", "graft", "params", "check"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("entry", ["__main__.py", "cli.py"])
def test_a_checkout_runs_its_own_sources(tmp_path: Path, entry: str) -> None:
    """Whatever is installed; also where they are of a version that entered at `graft.cli`."""
    package = [f"src/graft/{file}" for file in ("__init__.py", "cli.py", *(f"stages/{name}.py" for name in STAGES))]
    said = said_in(tmp_path, "dvc.yaml", *package, f"src/graft/{entry}")
    assert f"src/graft/{entry} ['params', 'check']" in said.splitlines()


@pytest.mark.parametrize("beside", [[], ["dvc.yaml"], ["dvc.yaml", "src/graft/stages/train.py"]])
def test_another_project_of_this_name_is_not_run(tmp_path: Path, beside: list[str]) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "graft"\nversion = "1.0"\n')
    said = said_in(tmp_path, *(f"src/graft/{file}" for file in ("__init__.py", "__main__.py", "cli.py")), *beside)
    assert said.startswith("params.yaml: ")
    assert said.endswith("values, no faults\n")
