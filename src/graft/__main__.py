"""Where the `graft` command enters. Imports little: a stage that a warm process runs needs nothing more here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from graft.config import yaml_file
from graft.errors import GraftError
from graft.pipeline.layout import STAGES
from graft.runtime.computing import numerics
from graft.runtime.warm import command


def main() -> None:
    """Run the command here or in a warm process, with the sources of the checkout it is called in."""
    _run_workspace_code()
    if command.is_stage() and _numerics_are_set():
        command.run_there("graft.cli:run", "graft.cli.ahead:begin")
    from graft import cli

    cli.run()


def _run_workspace_code() -> None:
    """In a checkout with graft's sources, run those: a queued experiment has the code it was queued with."""
    here, loaded = Path("src").resolve(), Path(__file__).resolve().parent.parent
    if here != loaded and _is_checkout(Path()):
        path = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))
        module = "graft" if (here / "graft" / "__main__.py").is_file() else "graft.cli"  # where it was at first
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], os.environ | {"PYTHONPATH": path})


def _is_checkout(folder: Path) -> bool:
    """Whether it is one of this project, of any version: its stages are there. Others are called graft too."""
    stages = folder / "src" / "graft" / "stages"
    return (folder / "dvc.yaml").is_file() and all((stages / f"{name}.py").is_file() for name in STAGES)


def _numerics_are_set() -> bool:
    """As params.yaml says, before any process imports TensorFlow. Where that fails, the command itself says why."""
    try:
        numerics.apply(yaml_file.read(Path("params.yaml"))["numerics"])
    except (GraftError, KeyError, TypeError):
        return False
    return True


if __name__ == "__main__":
    main()
