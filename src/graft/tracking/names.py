"""How runs are called: by what differs from the committed params.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config import yaml_file
from graft.config.load import FILE
from graft.errors import ParamsError
from graft.tracking import git

if TYPE_CHECKING:
    from graft.config.schema import Params

MOST = 4
"""Differences that are named."""

MAIN = "train."
"""The section whose names need no prefix."""

UNNAMED = "tracking."
"""What differs here tells no runs apart."""

ABSENT = object()


def of(params: Params) -> str:
    """`learning_rate=0.003`; the DVC experiment's name before it; what is trained where nothing differs."""
    values = params.flat()
    changed = _differences(values)
    experiment = os.environ.get("DVC_EXP_NAME")
    what = _listed(changed, values) if changed else _described(params)
    return f"{experiment}: {what}" if experiment else what


def _differences(values: dict[str, Any]) -> list[str]:
    """The keys of values that the last commit has otherwise, or does not have."""
    text = git.committed(Path.cwd(), FILE)
    if text is None:
        return []
    try:
        committed = flat(yaml_file.parse(text.decode("utf-8", "replace"), f"{FILE} of HEAD"))
    except ParamsError:
        return []
    return [key for key, value in values.items() if not key.startswith(UNNAMED) and committed.get(key, ABSENT) != value]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every node by its dotted key, inner ones too, since some of graft's values are mappings."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found[f"{prefix}{key}"] = value
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
    return found


def _listed(changed: list[str], values: dict[str, Any]) -> str:
    named = [f"{_short(key)}={_text(values[key])}" for key in changed[:MOST]]
    more = f" and {len(changed) - MOST} more" if len(changed) > MOST else ""
    return ", ".join(named) + more


def _short(key: str) -> str:
    """`train.learning_rate` -> `learning_rate`, `data.split.method` -> `split.method`"""
    return ".".join(key.removeprefix(MAIN).split(".")[-2:])


def _text(value: Any, most: int = 40) -> str:
    text = "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _described(params: Params) -> str:
    """The head, where fine-tuning starts, the backbone."""
    tuned = f"from {params.finetune.cut}" if params.finetune.enabled else "frozen"
    alpha = f" {params.backbone.alpha:g}" if params.backbone.alpha is not None else ""
    return f"{params.train.head}, {tuned}, {params.backbone.name}{alpha} {Path(params.backbone.weights).name}"
