"""Whether the outputs of `dvc repro` on the committed files are those of the committed dvc.lock; exit code 1 if not.

Names the first stage that differs. Does nothing on a processor without AVX2, where the same bytes are not promised.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from graft.pipeline.layout import STAGES
from graft.runtime.computing import numerics


def first_difference(committed: dict[str, Any], here: dict[str, Any]) -> str | None:
    """The first stage with other outputs, and which; None where all are equal."""
    for stage in STAGES:
        outs = [{out["path"]: out["md5"] for out in lock["stages"][stage]["outs"]} for lock in (committed, here)]
        differing = sorted(path for path in outs[0] | outs[1] if outs[0].get(path) != outs[1].get(path))
        if differing:
            return f"{stage}: {', '.join(differing)}"
    return None


def main() -> None:
    if not numerics.is_portable_here():
        print("this processor has no AVX2: the same bytes as committed are not promised, and not compared")
        return
    committed = subprocess.run(["git", "show", "HEAD:dvc.lock"], capture_output=True, text=True, check=True).stdout
    found = first_difference(yaml.safe_load(committed), yaml.safe_load(Path("dvc.lock").read_text()))
    if found is not None:
        sys.exit(
            f"other outputs than committed, first in {found}. Run `make repro` and commit dvc.lock, or find out why."
        )
    print("dvc.lock: the same bytes as committed")


if __name__ == "__main__":
    main()
