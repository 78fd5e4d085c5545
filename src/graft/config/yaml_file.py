"""The one reader of YAML files. It reads as DVC does: YAML 1.2's core schema, by the library that DVC takes.

What other readers of YAML would take for something else is refused by name where people write it (params.yaml): to
YAML 1.1, `no` is false, `042` is 34 and `1:30` is 90.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from graft.errors import ParamsError

AMBIGUOUS = re.compile(r"(?i:yes|no|on|off)|[-+]?0\d[\d_]*|[-+]?\d+(:[0-5]?\d)+(\.\d*)?")
"""Plain scalars that YAML 1.1 and 1.2 take differently."""

IN_BRACKETS = re.compile(r"plain scalar|flow (sequence|mapping)")
"""What the parser in C, which is stricter there than YAML 1.2, says of [s3://bucket, really?]."""

OUTSIDE = (
    "A text with a : or ? in it is better not written within [] or {}, but on a line of its own after `- ` or `key: `: "
    "DVC, which quotes it nowhere, could not read again what it has written."
)

MOST_BYTES, MOST_VALUES, DEEPEST, LARGEST = 2**20, 20_000, 20, 2**53
"""Limits of params.yaml: bytes of the file, values with aliases written out, levels, and the size of a whole number."""

SAFE_LEVELS = 1000
"""What the parser in C bears: far more than any file of the pipeline has brackets or spaces before a line's text."""


def read(path: Path) -> dict[str, Any]:
    """The mapping that a file holds. Raises ParamsError where it is missing, no UTF-8, no YAML or no mapping."""
    return parse(_text(path), str(path))


def read_by_people(path: Path) -> dict[str, Any]:
    """As `read`, of a file that people write: raises ParamsError for values that readers of YAML take differently,
    that are no text, number, boolean or null, and for more of them than anybody means."""
    text, where = _text(path), str(path)
    if len(text) > MOST_BYTES:
        raise ParamsError(where, [f"must be at most {MOST_BYTES:,} characters. Got {len(text):,}."])
    tree = parse(text, where)
    faults = [*_unplain(tree), *_ambiguous(text)]
    if faults:
        raise ParamsError(where, faults[:10])
    return tree


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping that a text is. where: what a fault names. Raises ParamsError where it is no YAML or no mapping."""
    return copy.deepcopy(_parsed(text, where))


@lru_cache(maxsize=16)
def _parsed(text: str, where: str) -> dict[str, Any]:
    """The same text is parsed once: a stage asks ten times what `dvc.lock` says, which takes longer than to read it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe", pure=_may_be_deep(text)).load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        key = re.search(r'duplicate key "(.*?)"', str(error.problem))
        raise ParamsError(where, [f"line {line}: key {key[1] if key else '?'!r} stands twice. Keep one."]) from None
    except RecursionError:
        raise ParamsError(where, [f"must be at most {DEEPEST} levels deep. Got far more."]) from None
    except (YAMLError, ValueError, TypeError, LookupError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        hint = f". {OUTSIDE}" if IN_BRACKETS.search(reason) else ""
        raise ParamsError(where, [f"must be YAML. {reason}{hint}"]) from None
    if not isinstance(tree, dict):
        raise ParamsError(where, [f"must be a mapping of sections. Got {type(tree).__name__}."])
    return {str(key): value for key, value in tree.items()}


def _may_be_deep(text: str) -> bool:
    """Whether the parser in C might crash, which has no bound on levels; the one in Python raises an error."""
    indented = max((len(line) - len(line.lstrip(" -?:")) for line in text.splitlines()), default=0)
    return text.count("[") + text.count("{") + indented > SAFE_LEVELS


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(str(path), ["must exist. Run the command in the project's root."]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(str(path), [f"must be a readable UTF-8 file. Got: {error}"]) from None


def _unplain(tree: dict[str, Any]) -> list[str]:
    """What cannot be a parameter, at most one fault of each kind."""
    faults: dict[str, str] = {}
    pending: list[tuple[str, Any, int]] = [(key, value, 1) for key, value in tree.items()]
    seen = 0
    while pending:
        where, value, depth = pending.pop()
        seen += 1
        if depth > DEEPEST:
            faults.setdefault("deep", f"{where[:80]}: must be at most {DEEPEST} levels deep.")
        elif seen > MOST_VALUES:
            faults["many"] = f"must hold at most {MOST_VALUES:,} values. Got more; look for aliases (*name) of aliases."
            break
        elif isinstance(value, dict):
            pending += [(f"{where}.{key}", inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [(where, inner, depth + 1) for inner in value]
        elif isinstance(value, int) and abs(value) > LARGEST:
            digits = len(f"{value:x}")
            faults.setdefault("large", f"{where}: must be at most {LARGEST:,}. Got a number of {digits} hex digits.")
        elif value is not None and not isinstance(value, str | int | float):
            kind = type(value).__name__
            faults.setdefault("kind", f"{where}: must be a text, number, boolean or list. Got a {kind}; quote it.")
    return list(faults.values())


def _ambiguous(text: str) -> list[str]:
    """A fault for each plain value that readers take differently."""
    from ruamel.yaml import YAML

    faults = []
    for keys, node in _scalars(YAML(typ="safe").compose(text), (), set()):
        if not node.style and AMBIGUOUS.fullmatch(node.value):
            where, line = ".".join(keys), node.start_mark.line + 1
            faults.append(
                f"{where}: must be quoted, or written otherwise, since readers of YAML take {node.value} (line {line}) "
                f"differently. Write '{node.value}' for the text; true or false; a number without leading zeros."
            )
    return faults


def _scalars(node: Any, keys: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(keys down to it, node) of every scalar, keys themselves too; what aliases repeat, once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "scalar":
        yield keys, node
    elif node.id == "sequence":
        for inner in node.value:
            yield from _scalars(inner, keys, seen)
    else:
        for key, inner in node.value:
            name = str(key.value)
            yield (*keys, name), key
            yield from _scalars(inner, (*keys, name), seen)
