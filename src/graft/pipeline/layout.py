"""Every path of the pipeline. They are written once, as `vars` in dvc.yaml, and read from there by everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from graft.config import yaml_file
from graft.errors import ParamsError, unknown

FILE = Path("dvc.yaml")

WORKSPACE = "workspace"
"""How the files here are called beside those of a revision, as DVC calls them."""

STAGES = ("prepare", "extract", "train", "finetune", "evaluate")
"""Those of every pass."""

OPTIONAL = ("export",)
"""Those that dvc.yaml has for each entry of a list in params.yaml, which may be empty."""


@dataclass(frozen=True)
class Paths:
    """What the stages read and write, relative to the project's root.

    catalogue, split, quarantine, duplicates: CSV files of `prepare`. features, activations: folders of `extract`.
    head, model: Keras files. card: JSON that says what the model is. train_history, finetune_history, confusion: CSV.
    pictures: a folder of PNG files. summary: JSON, the few figures that DVC compares. prepare_metrics, metrics: JSON,
    all there is to know. predictions: parquet.
    """

    catalogue: Path
    split: Path
    quarantine: Path
    duplicates: Path
    features: Path
    activations: Path
    head: Path
    model: Path
    card: Path
    train_history: Path
    finetune_history: Path
    confusion: Path
    pictures: Path
    summary: Path
    prepare_metrics: Path
    metrics: Path
    predictions: Path

    @property
    def histories(self) -> dict[str, Path]:
        """training stage -> its history."""
        return {"train": self.train_history, "finetune": self.finetune_history}

    def all(self) -> list[Path]:
        """Every path, in the order of the fields."""
        return [getattr(self, field.name) for field in fields(self)]

    def missing(self) -> list[str]:
        """The paths at which there is nothing."""
        return sorted(str(path) for path in self.all() if not path.exists())


NAMES = tuple(field.name for field in fields(Paths))


@dataclass(frozen=True)
class Exports:
    """What `graft export` writes: folders with `<format>/<precision>/`, and with `<format>.json`."""

    models: Path
    metrics: Path


def read(file: Path = FILE) -> Paths:
    """The paths under `vars` in dvc.yaml. Raises ParamsError with one bullet per fault."""
    tree = yaml_file.read(file)
    try:
        named = dict(tree["vars"][0]["paths"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise ParamsError(
            str(file), ["vars: must hold the pipeline's paths, as `- paths:` with a line for each. Got none."]
        ) from None
    return Paths(**_checked(named, "paths", NAMES, file))


def exports(file: Path = FILE) -> Exports:
    """Likewise, of exported models."""
    for entry in yaml_file.read(file).get("vars") or []:
        if isinstance(entry, dict) and isinstance(entry.get("exports"), dict):
            return Exports(**_checked(entry["exports"], "exports", ("models", "metrics"), file))
    raise ParamsError(
        str(file),
        [
            "vars: must say where exports go, as `- exports:` with lines for models and metrics. Got none; `graft init "
            "--update` says what dvc.yaml lacks."
        ],
    )


def exported(file: Path = FILE) -> list[Path]:
    """The folders of exported models; none where dvc.yaml is of a graft that had no exports."""
    try:
        found = exports(file)
    except ParamsError:
        return []
    return [found.models, found.metrics]


def _checked(named: Mapping[str, Any], group: str, names: Sequence[str], file: Path) -> dict[str, Path]:
    where = f"vars.{group}"
    faults = [f"{where}.{name}: must be there, with a path. Got nothing." for name in names if name not in named]
    faults += [f"{where}.{name}: unknown name; {unknown(name, names)}" for name in named if name not in names]
    faults += [
        f"{where}.{name}: must be a path. Got {path!r}."
        for name, path in named.items()
        if name in names and not (isinstance(path, str) and path)
    ]
    if faults:
        raise ParamsError(str(file), faults)
    return {name: Path(path) for name, path in named.items()}
