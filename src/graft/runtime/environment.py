"""What a pass ran in, as far as its numbers may depend on it: versions, instruction set, threads."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from graft.errors import StaleError
from graft.runtime import cores
from graft.runtime.computing import numerics

COMPUTE = (
    "graft-transfer", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "tensorflow", "keras", "keras-hub",
    "openvino", "h5py", "ml-dtypes", "pillow", "opencv-python-headless", "simplejpeg", "tokenizers", "datasketch",
    "matplotlib", "threadpoolctl",
)  # fmt: skip
"""Packages whose version may change a byte of an output; of others nothing is said."""

PINNED = re.compile(r"^[A-Za-z0-9][\w.-]*\s*==.*$", re.MULTILINE)
"""A line of a lock file: name and version, for which Pythons, and that hashes follow."""

HEADER = {field: re.compile(rf"^{field}:[ \t]*(\S+)", re.MULTILINE) for field in ("Name", "Version")}
"""Lines of a package's metadata, whose first ones they are."""

LIST = (
    "import importlib.metadata as m, json, platform\n"
    "print(json.dumps([platform.python_version(), {d.name: d.version for d in m.distributions()}]))"
)
"""What another Python is asked for: its version, and those of its packages."""


class Environment(BaseModel):
    """python, instruction_set, threads: None where nobody recorded them.

    packages: name, in small letters with dashes -> version. instruction_set: as `numerics.instruction_set` names it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    python: str | None = None
    packages: dict[str, str] = {}
    instruction_set: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Difference:
    """there, here: what the original had, and what there is now; None where a package is missing."""

    what: str
    there: str
    here: str | None

    def __str__(self) -> str:
        return f"{self.what} ({self.there} there, {self.here or 'none'} here)"


def here(numerics_value: str) -> Environment:
    """Of this process. numerics_value: `numerics` of params.yaml, which says what of the processor counts."""
    return Environment(
        python=platform.python_version(),
        packages={_normal(name): version for name, version in map(_named, distributions()) if name},
        instruction_set=numerics.instruction_set(numerics_value, False),
        threads=cores.available(),
    )


def of_python(python: Path, numerics_value: str) -> Environment:
    """Of another Python on this machine."""
    done = subprocess.run([str(python), "-c", LIST], capture_output=True, text=True, check=True)
    version, packages = json.loads(done.stdout)
    own = {"python": version, "packages": {_normal(name): one for name, one in packages.items() if name}}
    return here(numerics_value).model_copy(update=own)


def of_lock_file(text: str) -> Environment:
    """What a lock file pins for this Python and system: versions alone."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = {}
    for line in PINNED.findall(text):
        with suppress(InvalidRequirement):
            one = Requirement(line.rstrip("\\ "))
            if one.marker is None or one.marker.evaluate():
                found[_normal(one.name)] = str(one.specifier).removeprefix("==")
    return Environment(packages=found)


def parsed(values: Mapping[str, Any], where: str) -> Environment:
    """As it was recorded. Raises StaleError where it is none."""
    try:
        return Environment.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise StaleError(
            f"{where}: must be the environment of a run, as graft records it. {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}. Name the run's commit instead."
        ) from None


def differences(there: Environment, here: Environment) -> list[Difference]:
    """What may change numbers and is not the same; what was not there, or nobody recorded, is not compared."""
    pairs = [(name, there.packages[name], here.packages.get(name)) for name in COMPUTE if name in there.packages]
    for what in ("python", "instruction_set", "threads"):
        if (value := getattr(there, what)) is not None:
            pairs.append((what.replace("_", " "), str(value), str(getattr(here, what))))
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


def _named(one: Distribution) -> tuple[str | None, str]:
    """Name and version, from the first lines of the package's metadata: parsing all of them, of hundreds of packages,
    takes a tenth of a second."""
    text = one.read_text("METADATA") or one.read_text("PKG-INFO") or ""
    name, version = (HEADER[field].search(text) for field in ("Name", "Version"))
    return (name[1], version[1]) if name and version else (None, "")


def _normal(name: str) -> str:
    """https://packaging.python.org/en/latest/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()
