"""From the body of a request to examples. What they look like in it, `images` and `texts` know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = "application/json"

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
"""Keys of a JSON body under one of which the examples are, as `mlflow models serve` has it."""

AFTER = 60
"""Characters of a faulty value that a message repeats."""


class BodyError(ValueError):
    """A request whose body is not what it should be."""


@dataclass(frozen=True)
class Asked:
    """examples: as a classifier takes them. top_k: as the body asks for, None where it does not."""

    examples: list[Any]
    top_k: int | None = None


@dataclass(frozen=True)
class Tree:
    """A JSON body. form: of FORMS. value: what stands there."""

    form: str
    value: Any
    top_k: int | None


def parsed(body: bytes) -> Tree:
    """Raises BodyError where the body is no JSON, or has not one of FORMS."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"the body must be JSON. Got: {error}") from None
    found = [key for key in FORMS if isinstance(tree, Mapping) and key in tree]
    if len(found) != 1:
        got = f"the keys {sorted(tree)}" if isinstance(tree, Mapping) else type(tree).__name__
        raise BodyError(f"a JSON body must have one of {', '.join(FORMS)}. Got {got}.")
    params = tree.get("params") or {}
    return Tree(found[0], tree[found[0]], params.get("top_k") if isinstance(params, Mapping) else None)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= AFTER else f"{text[:AFTER]}..."
