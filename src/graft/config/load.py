"""Read params.yaml into the schema, and report every fault at once.

First what each section's schema refuses, then what `graft.config.checks` finds when values are read together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from graft.backbones import automatic
from graft.config import checks, yaml_file
from graft.config.schema import OWN_FAULTS, Params
from graft.errors import ParamsError, unknown

FILE = Path("params.yaml")
ABSENT = "must be present, since no value is hidden in the code. Got nothing."
WORDS = {
    "model_type": "must be a section, with its keys indented below it",
    "dict_type": "must be keys with a value each, {key: value}",
}
"""What pydantic says of these faults in the terms of Python, in those of YAML."""


def load(path: Path = FILE) -> Params:
    """Read and check `path`. Raises ParamsError with one bullet per fault."""
    return of_tree(yaml_file.read_by_people(path), str(path))


def of_tree(tree: Mapping[str, Any], where: str) -> Params:
    """Check what a params.yaml holds. where: its name in a message. `auto` has become what it stands for."""
    faults: list[str] = []
    sections: dict[str, Any] = {}
    for name, kind in get_type_hints(Params, include_extras=True).items():
        if name not in Params.model_fields:
            continue
        if name not in tree:
            faults.append(f"{name}: {ABSENT}")
            continue
        try:
            # Section by section, so that a fault in one does not hide the cross-checks of the others.
            sections[name] = TypeAdapter(kind).validate_python(tree[name], strict=True)
        except ValidationError as error:
            faults += _merged(_sentence(name, kind, tree[name], detail) for detail in error.errors())
    faults += [
        f"{key}: unknown key; {unknown(key, Params.model_fields)}" for key in tree if key not in Params.model_fields
    ]
    for name in ("train", "finetune"):
        faults += checks.optimization(name, tree.get(name))
    _decide(sections)
    faults += checks.across(sections)
    if faults:
        raise ParamsError(where, faults)
    return Params.model_construct(**sections)


def _decide(sections: dict[str, Any]) -> None:
    if "backbone" in sections:
        sections["backbone"] = automatic.backbone(sections["backbone"])
        if "finetune" in sections:
            sections["finetune"] = automatic.finetune(sections["finetune"], sections["backbone"].name)


def _merged(sentences: Iterable[str]) -> list[str]:
    """One bullet per key: a value that may be of several types has a fault for each."""
    bullets: dict[str, list[str]] = {}
    for sentence in sentences:
        key, _, fault = sentence.partition(": ")
        bullets.setdefault(key, []).append(fault)
    return [f"{key}: {' Or: '.join(fault)}" for key, fault in bullets.items()]


def _keys(section: Any, detail: ErrorDetails) -> list[str]:
    """The YAML path of a fault in `section`: of the places that pydantic names, those that the file has.

    The others are the branches of a union, such as `str` or `literal['auto']`; a key that is missing comes last.
    """
    keys = []
    for part in detail["loc"]:
        places = section if isinstance(section, Mapping) else range(len(section)) if isinstance(section, list) else ()
        if part in places:
            section = section[part]
            keys.append(str(part))
    return [*keys, str(detail["loc"][-1])] if detail["type"] == "missing" else keys


def _names_beside(keys: list[str], kind: Any) -> list[str]:
    """The names that may stand where an unknown key stands."""
    for key in keys[:-1]:
        kind = kind.model_fields[key].annotation
    return list(kind.model_fields)


def _sentence(section: str, kind: Any, values: Any, detail: ErrorDetails) -> str:
    """A fault that pydantic found in a section's values, as 'key: what is allowed. Got what came.'"""
    keys = _keys(values, detail)
    where, got, fault = ".".join([section, *keys]), detail["input"], detail["type"]
    if fault == "extra_forbidden":
        return f"{where}: unknown key; {unknown(keys[-1], _names_beside(keys, kind))}"
    if fault == "missing":
        return f"{where}: {ABSENT}"
    if fault in OWN_FAULTS:
        return f"{where}: {detail['msg']}"
    if fault == "literal_error":
        allowed = str(detail["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return f"{where}: {unknown(got, allowed)}"
    shown = "null" if got is None else repr(got)
    advice = "; put it into quotes" if fault == "string_type" and type(got) in (int, float) else ""
    return f"{where}: {WORDS.get(fault) or detail['msg'].replace('Input should', 'must')}. Got {shown}{advice}."
