"""The one reader of YAML files. A key that stands twice is a fault, and a number is one as DVC writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from graft.errors import ParamsError


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML takes the last of two equal keys without a word; here that is a fault."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a plain name", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key_node.value!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


# YAML 1.2, which DVC writes, has 1e-05 as a number; PyYAML's 1.1 wants a point before the exponent.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), "-+0123456789"
)


def read(path: Path) -> dict[str, Any]:
    """The mapping that a file holds. Raises ParamsError where it is missing, no UTF-8, no YAML or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(str(path), ["must exist. Run the command in the project's root."]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(str(path), [f"must be a readable UTF-8 file. Got: {error}"]) from None
    return parse(text, str(path))


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping that a text is. where: what a fault names. Raises ParamsError where it is no YAML or no mapping."""
    try:
        tree = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ParamsError(where, [f"must be YAML. {' '.join(str(error).split())}"]) from None
    if not isinstance(tree, dict):
        raise ParamsError(where, [f"must be a mapping of sections. Got {type(tree).__name__}."])
    return {str(key): value for key, value in tree.items()}
