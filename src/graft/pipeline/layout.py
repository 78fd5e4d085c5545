"""Every path of the pipeline. They are written once, as `vars` in dvc.yaml, and read from there by everyone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from graft.config import yaml_file
from graft.errors import ParamsError, unknown

FILE = Path("dvc.yaml")

WORKSPACE = "workspace"
"""How the files here are called beside those of a revision, as DVC calls them."""

STAGES = ("prepare", "extract", "train", "finetune", "evaluate")


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


def read(file: Path = FILE) -> Paths:
    """The paths under `vars` in dvc.yaml. Raises ParamsError with one bullet per fault."""
    tree = yaml_file.read(file)
    try:
        named = dict(tree["vars"][0]["paths"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise ParamsError(
            str(file), ["vars: must hold the pipeline's paths, as `- paths:` with a line for each. Got none."]
        ) from None
    faults = [f"vars.paths.{name}: must be there, with a path. Got nothing." for name in NAMES if name not in named]
    faults += [f"vars.paths.{name}: unknown name; {unknown(name, NAMES)}" for name in named if name not in NAMES]
    faults += [
        f"vars.paths.{name}: must be a path. Got {path!r}."
        for name, path in named.items()
        if name in NAMES and not (isinstance(path, str) and path)
    ]
    if faults:
        raise ParamsError(str(file), faults)
    return Paths(**{name: Path(path) for name, path in named.items()})
