"""`presets/<name>.yaml`: a complete params.yaml behind comments that say what it shows, whence it is, what it gives."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.config import schema, yaml_file
from graft.errors import GraftError, ParamsError, unknown
from graft.project import template

FOLDER = "presets"
DEFAULT = "digits"
PARAMETERS = "params.yaml"

FIELDS = ("Shows", "Protocol", "Expects", "Takes", "Needs")
"""Of the comments at the top, in their order, each a paragraph."""


@dataclass(frozen=True)
class Preset:
    """text: the whole file. about: field -> its paragraph on one line. values: of params.yaml, with sections."""

    name: str
    text: str
    about: Mapping[str, str]
    values: Mapping[str, Any]


def names() -> list[str]:
    """All there are, the default first."""
    found = sorted(path.stem for path in template.folder(FOLDER).glob("*.yaml"))
    return sorted(found, key=lambda name: name != DEFAULT)


def get(name: str) -> Preset:
    """Raises GraftError where there is none of this name."""
    if name not in names():
        raise GraftError(f"preset: {unknown(name, names())} `graft preset list` tells what they are.")
    text = template.original(f"{FOLDER}/{name}.yaml")
    return Preset(name, text, _about(text), yaml_file.parse(text, f"{FOLDER}/{name}.yaml"))


def header(text: str) -> str:
    """The comments at the top, up to the first empty line."""
    return text[: text.index("\n\n") + 2]


def _about(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    field = ""
    for line in header(text).splitlines()[1:]:
        words = line.removeprefix("#").strip()
        first, colon, rest = words.partition(":")
        if colon and first in FIELDS:
            field, words = first, rest.strip()
        if field and words:
            found[field] = f"{found.get(field, '')} {words}".strip()
    return found


def differences(values: Mapping[str, Any]) -> dict[str, Any]:
    """ "train.epochs" -> value, of what is not as this repository's params.yaml has it, or is not there."""
    default = schema.flattened(yaml_file.parse(template.original(PARAMETERS), PARAMETERS))
    return {key: value for key, value in schema.flattened(dict(values)).items() if default.get(key, ...) != value}


def rewritten(preset: Preset) -> str:
    """The file as it must be: its own comments at the top and its own values in the params.yaml of today."""
    return header(preset.text) + template.parameters(differences(preset.values))


def use(name: str, file: Path, force: bool = False) -> None:
    """Write a preset as params.yaml. Raises GraftError where that would lose edits, unless told to."""
    preset = get(name)
    if file.exists() and not force and not _can_be_had_again(file):
        raise GraftError(
            f"{file}: must be committed, or as a preset has it, to be written over. It has edits of yours. Commit it, "
            f"or say `graft preset use {name} --force`."
        )
    file.write_text(preset.text, encoding="utf-8")


def _can_be_had_again(file: Path) -> bool:
    """Whether nothing is lost with a file: git has it, or its values are those of a preset."""
    committed = subprocess.run(
        ["git", "show", f"HEAD:./{file.name}"], cwd=file.parent.resolve(), capture_output=True, check=False
    )
    if committed.returncode == 0 and committed.stdout == file.read_bytes():
        return True
    try:
        values = yaml_file.read(file)
    except ParamsError:
        return False
    return any(get(name).values == values for name in names())
