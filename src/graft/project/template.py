"""The files of a project, made from this repository's own `dvc.yaml`, `params.yaml`, `.gitignore` and `.dvcignore`.

A wheel holds them (hatch_build.py); in a checkout they are read where they lie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from graft.project import lock

PACKAGED = Path(__file__).parent / "template"
CHECKOUT = Path(__file__).parents[3]

OWN = "# Only in graft's own repository"
"""What stands from this line on in `.gitignore` and `.dvcignore` is left out."""

HEADER = """\
# The five stages, and exports. Paths are written once, here; everything else that steers them is in params.yaml.
# graft's code is a dependency of each stage by its digest in graft.lock; after an upgrade: `graft init --update`.
"""
STAGE = re.compile(r"^  (\w+):$")
CODE = re.compile(r"^ +- src/")
PARAMS = re.compile(r"^( +)params:$")
PLAIN = re.compile(r"[A-Za-z/_]([\w ./()+=-]*[\w./()+=-])?")
"""Texts that need no quotes, unless YAML 1.1 takes them for something else: `on`, `null`."""


def folder(name: str = ".") -> Path:
    """A folder of this repository, as the wheel or the checkout has it."""
    return (PACKAGED if PACKAGED.is_dir() else CHECKOUT) / name


def original(name: str) -> str:
    """A file of this repository, likewise."""
    return (folder() / name).read_text(encoding="utf-8")


def pipeline() -> str:
    """`dvc.yaml` with a digest in graft.lock in the place of each stage's code."""
    stage, lines = "", []
    text = original("dvc.yaml")
    for line in text[text.index("vars:") :].splitlines():
        if found := STAGE.match(line):
            stage = found[1]
        if CODE.match(line):
            continue
        lines.append(line)
        if found := PARAMS.match(line):
            lines += [f"{found[1]}  - {lock.FILE}:", f"{found[1]}      - {stage}"]
    return HEADER + "\n".join(lines) + "\n"


def parameters(values: Mapping[str, Any]) -> str:
    """`params.yaml` with other values, comments kept. values: "train.epochs" -> value, of keys that it has."""
    return replaced(original("params.yaml"), values)


def ignored(name: str) -> str:
    """`.gitignore` or `.dvcignore`, without what only this repository has."""
    return original(name).split(OWN)[0].rstrip() + "\n"


def readme(name: str) -> str:
    """The README.md of a project of this name."""
    return (Path(__file__).parent / "README.md").read_text(encoding="utf-8").replace("NAME", name, 1)


def replaced(text: str, values: Mapping[str, Any]) -> str:
    """A YAML text with other values at some keys, scalars or lists in brackets; everything else stays as it is written.

    A comment behind a value keeps its column where there is room.
    """
    nodes = _leaves(yaml.compose(text, Loader=yaml.SafeLoader))
    missing = [key for key in values if key not in nodes]
    if missing:
        raise KeyError(f"no single value in the text: {missing}")
    for key in sorted(values, key=lambda key: nodes[key].start_mark.index, reverse=True):
        node, new = nodes[key], _written(values[key])
        if node.value == "":  # nothing stands there, which is null
            new = f" {new}" if values[key] is not None else ""
        before, behind = text[: node.start_mark.index], text[node.end_mark.index :]
        spaces = re.match(r" +(?=#)", behind)
        if spaces:
            width = len(spaces[0]) + node.end_mark.index - node.start_mark.index - len(new)
            behind = " " * max(2, width) + behind.lstrip(" ")
        text = before + new + behind
    return text


def _leaves(node: Any, above: str = "") -> dict[str, Any]:
    """key.key -> the node of a scalar, or of a list in brackets."""
    found: dict[str, Any] = {}
    for key, value in node.value:
        name = f"{above}{key.value}"
        if isinstance(value, yaml.MappingNode):
            found |= _leaves(value, f"{name}.")
        elif isinstance(value, yaml.ScalarNode) or value.flow_style:
            found[name] = value
    return found


def _written(value: Any) -> str:
    """As DVC writes it; JSON, which is YAML too, for texts with control characters."""
    if not isinstance(value, str) or not value.isprintable():
        return json.dumps(value)
    if PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return "'" + value.replace("'", "''") + "'"
